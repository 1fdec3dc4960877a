import type { ScanEntry, ScanRequest, ScanResponse } from '@atoll/contracts/atoll/v1/cache';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { MIB, compareHash, type Hash64 } from '@atoll/core-runtime';
import { FIRST_HASH, isExpired, type StoredEntry } from '@atoll/core-store';
import { writeWithBackpressure, type ServerStreamHandler } from '@atoll/platform-grpc';
import { checkScan, cursorTag, decodeCursor, encodeCursor, encodeVersion } from '@atoll/platform-wire';
import type { ReplicaHost } from '../replica-host.ts';
import { readMoment } from '../turn.ts';
import type { CacheOperations } from './cache-operations.ts';

const BATCH_ENTRIES_DEFAULT = 1000;
const BATCH_BYTES = 1 * MIB;
/** Entries looked at in one turn of the event loop, whatever the prefix keeps of them. */
const LOOKED_AT_MAX = 10_000;

/**
 * Handler of `Scan` for one partition on this node, in key-hash order (R32). Each slice is read from the applied
 * state of its moment, so a key that lives through the scan is met: its place in the order never changes.
 */
export function createScanHandler(options: { host: ReplicaHost; operations: CacheOperations }): ServerStreamHandler<ScanRequest, ScanResponse> {
  const { host } = options;
  return async (call, context) => {
    const { request } = call;
    checkScan(request);
    const spec = host.requireSpec(request.keyspace);
    const { partition } = request;
    if (partition === undefined) throw invalidArgument('partition', 'is required at a storage node; routers scan all partitions');
    if (partition >= spec.partitionCount) throw invalidArgument('partition', `must be below ${spec.partitionCount}, not ${partition}`);
    const tag = cursorTag(spec.id);
    const cursor = decodeCursor(request.cursor, { tag, partitionCount: spec.partitionCount });
    if (cursor !== undefined && cursor.partition !== partition) {
      throw new AtollError('CURSOR_MALFORMED', 'cursor: belongs to another partition', { metadata: { field: 'cursor' } });
    }
    let from: Hash64 | undefined = cursor?.position ?? FIRST_HASH;
    let left = request.limit === 0 ? Number.POSITIVE_INFINITY : request.limit;
    while (from !== undefined) {
      const slice = readSlice(options, request, partition, from, left);
      left -= slice.entries.length;
      from = slice.next;
      const behind = from === undefined ? EMPTY : encodeCursor(tag, { partition, position: from });
      if (slice.entries.length > 0 || from === undefined) {
        await writeWithBackpressure(call, { entries: slice.entries, cursor: behind }, context.signal);
      } else {
        await new Promise((resolve) => setImmediate(resolve));
        context.signal.throwIfAborted();
      }
      if (left <= 0) return;
    }
  };
}

function readSlice(
  { host, operations }: { host: ReplicaHost; operations: CacheOperations },
  request: ScanRequest,
  partition: number,
  from: Hash64,
  left: number,
): { readonly entries: ScanEntry[]; readonly next: Hash64 | undefined } {
  const keyspace = host.keyspace(request.keyspace);
  const hosted = keyspace?.replica(partition);
  if (keyspace === undefined || hosted === undefined) throw operations.notLeaderOf(request.keyspace, partition);
  const now = readMoment();
  operations.checkReadable({ keyspace, hosted }, { ...request, session: EMPTY }, now);
  const { state } = hosted.replica;
  const wanted = Math.min(left, request.batchEntries === 0 ? BATCH_ENTRIES_DEFAULT : request.batchEntries);
  const timeMs = state.clock.read(now.monotonicMs);
  // With a prefix most of what is read may be left out, so more is looked at.
  const entriesMax = request.prefix.length === 0 ? wanted : LOOKED_AT_MAX;
  const slice = state.store.readRange(from, undefined, { entriesMax, bytesMax: BATCH_BYTES });
  const kept = slice.entries.filter((entry) => !isExpired(entry.expiresAtMs, timeMs) && startsWith(entry.key, request.prefix));
  // Keys of one hash stay together, as a cursor cannot stand between them.
  let count = Math.min(wanted, kept.length);
  while (count > 0 && count < kept.length && compareHash(kept[count - 1]!.hash, kept[count]!.hash) === 0) count += 1;
  const entries = kept.slice(0, count).map((entry) => toScanEntry(entry, request.keysOnly));
  return { entries, next: count < kept.length ? kept[count]!.hash : slice.next };
}

function toScanEntry(entry: StoredEntry, keysOnly: boolean): ScanEntry {
  return {
    key: entry.key as Buffer,
    value: keysOnly ? EMPTY : entry.value,
    version: encodeVersion(entry.version),
    expiresAtMs: entry.expiresAtMs,
  };
}

function startsWith(key: Uint8Array, prefix: Buffer): boolean {
  return key.length >= prefix.length && prefix.equals(key.subarray(0, prefix.length));
}

const EMPTY: Buffer = Buffer.alloc(0);

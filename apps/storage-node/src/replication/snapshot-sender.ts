import { setTimeout as pause } from 'node:timers/promises';
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { FetchSnapshotRequest, FetchSnapshotResponse, SnapshotEntry } from '@atoll/contracts/atoll/v1/transfer';
import { AtollError } from '@atoll/core-errors';
import { KIB, WIRE_PART_BYTES_MAX, checksum32, type Hash64, type ReplicaId } from '@atoll/core-runtime';
import type { StoredEntry } from '@atoll/core-store';
import { writeWithBackpressure, type ServerStreamHandler } from '@atoll/platform-grpc';
import type { ReplicaHost } from '../replica-host.ts';
import { ByteRate } from './byte-rate.ts';
import { NO_RESULTS, resultPieces, type ResultPiece } from './result-pieces.ts';

const CHUNK_BYTES = 256 * KIB;
const CHUNK_ENTRIES = 2000;

export interface SnapshotSenderOptions {
  readonly host: ReplicaHost;
  readonly clusterId: string;
  /** Bytes of keys and values in a second, of all full syncs together; 0 means no limit. */
  readonly syncBytesPerSecond: number;
  /** Full syncs at a time; one more is refused as OVERLOADED, and comes again. */
  readonly syncsMax: number;
}

/** The leader's store by sub-ranges, each as of the moment at which it is read (R33). */
export class SnapshotSender {
  readonly #options: SnapshotSenderOptions;
  readonly #rate: ByteRate;
  #running = 0;

  constructor(options: SnapshotSenderOptions) {
    this.#options = options;
    this.#rate = new ByteRate(options.syncBytesPerSecond, performance.now());
  }

  /** Full syncs under way. */
  get runningCount(): number {
    return this.#running;
  }

  /** Handler of `Transfer.FetchSnapshot`. A request for a sub-range is a repair, which its receiver bounds and paces itself. */
  readonly send: ServerStreamHandler<FetchSnapshotRequest, FetchSnapshotResponse> = async (call, context) => {
    const { request } = call;
    const { clusterId, syncsMax } = this.#options;
    if (request.clusterId !== clusterId) throw new AtollError('WRONG_CLUSTER', `this node belongs to cluster ${clusterId}`);
    if (endOf(request) !== undefined) return this.#sendAll(call, context.signal, undefined);
    if (this.#running >= syncsMax) throw new AtollError('OVERLOADED', `${syncsMax} full syncs are under way from this node`);
    this.#running += 1;
    try {
      return await this.#sendAll(call, context.signal, this.#rate);
    } finally {
      this.#running -= 1;
    }
  };

  async #sendAll(call: ServerWritableStream<FetchSnapshotRequest, FetchSnapshotResponse>, signal: AbortSignal, rate: ByteRate | undefined): Promise<void> {
    const { request } = call;
    let next: Hash64 | undefined = { high: request.fromHigh, low: request.fromLow };
    let { wantsResults } = request;
    // The receiver has the log behind the order of its install, so what is known now is all that it may miss (R38).
    let isFirst = true;
    while (next !== undefined) {
      const from: Hash64 = next;
      const slice = readSlice(this.#options.host, request, from, wantsResults);
      wantsResults = false;
      const messages = toMessages(from, slice);
      if (isFirst) messages[0] = { ...messages[0]!, fences: slice.fences };
      isFirst = false;
      for (const each of messages) await writeWithBackpressure(call, each, signal);
      next = slice.next;
      const delayMs = rate?.delayMs(bytesOf(slice), performance.now()) ?? 0;
      if (delayMs > 0 && next !== undefined) await pause(delayMs, undefined, { signal });
    }
  }
}

const bytesOf = ({ entries }: Slice): number => entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0);

interface Slice {
  readonly entries: readonly StoredEntry[];
  readonly next: Hash64 | undefined;
  readonly readSeq: number;
  readonly epoch: number;
  readonly results: readonly ResultPiece[];
  /** Absent when no fencing token was ever seen. */
  readonly fences: Buffer | undefined;
}

/** One sub-range, checked anew each time: leadership, lineage and the receiver's place may have changed meanwhile. */
function readSlice(host: ReplicaHost, request: FetchSnapshotRequest, from: Hash64, withResults: boolean): Slice {
  const hosted = host.replica(request.keyspace, request.partition);
  hosted?.hearEpochOf(request.replicaId as ReplicaId, request.epoch);
  const leader = hosted?.replica.leader;
  if (hosted === undefined || leader === undefined) throw new AtollError('NOT_LEADER', `this node does not lead ${request.keyspace}/${request.partition}`);
  if (leader.epoch !== request.epoch) throw new AtollError('STALE_EPOCH', `the epoch is ${leader.epoch}, not ${request.epoch}`);
  const { state } = hosted.replica;
  if (state.generation.counter !== request.generation?.counter || state.generation.id !== request.generation.id) {
    throw new AtollError('STALE_GENERATION', `the generation is ${state.generation.counter}`);
  }
  if (leader.follower(request.replicaId as ReplicaId) === undefined) throw new AtollError('REPLICA_UNKNOWN', `replica ${request.replicaId} does not follow here`);
  const { entries, next } = state.store.readRange(from, endOf(request), { entriesMax: CHUNK_ENTRIES, bytesMax: CHUNK_BYTES });
  return { entries, next, readSeq: state.appliedSeq, epoch: leader.epoch, results: withResults ? resultPieces(state) : [], fences: state.fences.isEmpty ? undefined : state.fences.encode() };
}

function endOf({ toHigh, toLow }: FetchSnapshotRequest): Hash64 | undefined {
  return toHigh === undefined || toLow === undefined ? undefined : { high: toHigh, low: toLow };
}

function toMessages(from: Hash64, slice: Slice): FetchSnapshotResponse[] {
  const entries: SnapshotEntry[] = [];
  const parts: FetchSnapshotResponse[] = [];
  let checksum = 0;
  slice.entries.forEach((entry, index) => {
    const value = entry.value;
    const isLarge = value.length > WIRE_PART_BYTES_MAX;
    checksum = (checksum + checksum32(entry.key) + checksum32(value)) >>> 0;
    entries.push({
      key: entry.key as Buffer,
      value: isLarge ? EMPTY : value,
      versionGeneration: entry.version.generation,
      versionEpoch: entry.version.epoch,
      versionSeq: entry.version.seq,
      expiresAtMs: entry.expiresAtMs,
      valueBytes: isLarge ? value.length : 0,
    });
    if (!isLarge) return;
    for (let offset = 0; offset < value.length; offset += WIRE_PART_BYTES_MAX) {
      parts.push({ ...message(from, slice), valuePart: value.subarray(offset, offset + WIRE_PART_BYTES_MAX), partOf: index, continued: true });
    }
  });
  const results = slice.results.map((piece) => ({ ...message(from, slice), ...piece, continued: true }));
  const messages = [...results, { ...message(from, slice), entries, continued: true }, ...parts];
  messages[messages.length - 1] = { ...messages.at(-1)!, continued: false, checksum };
  return messages;
}

function message(from: Hash64, slice: Slice): FetchSnapshotResponse {
  return {
    fromHigh: from.high,
    fromLow: from.low,
    toHigh: slice.next?.high,
    toLow: slice.next?.low,
    readSeq: slice.readSeq,
    epoch: slice.epoch,
    entries: [],
    checksum: 0,
    valuePart: EMPTY,
    partOf: 0,
    continued: false,
    ...NO_RESULTS,
  };
}

const EMPTY = Buffer.alloc(0);

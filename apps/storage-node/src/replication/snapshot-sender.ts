import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { FetchSnapshotRequest, FetchSnapshotResponse } from '@atoll/contracts/atoll/v1/transfer';
import { AtollError } from '@atoll/core-errors';
import { hasReplica, membersOf } from '@atoll/core-membership';
import { KIB, WIRE_PART_BYTES_MAX, checksum32, hashOfHalves, type Hash64, type ReplicaId } from '@atoll/core-runtime';
import { chunkEntries } from '@atoll/core-replication';
import { encodeRows, type StoredEntry } from '@atoll/core-store';
import { writeWithBackpressure, type ServerStreamHandler } from '@atoll/platform-grpc';
import type { Counter, Metrics } from '@atoll/platform-telemetry';
import type { HostedReplica } from '../hosted-replica.ts';
import { requireOwnCluster } from '../own-cluster.ts';
import type { ReplicaHost } from '../replica-host.ts';
import { NO_RESULTS, resultPieces, type ResultPiece } from './result-pieces.ts';
import { SHARD_STREAMS_MAX } from './sharded-installs.ts';
import type { SyncThrottle } from './sync-throttle.ts';

const CHUNK_BYTES = 256 * KIB;
const CHUNK_ENTRIES = 2000;
/** While clients are served: what waits behind the reading of a chunk, here, and its installing, there, waits some 2 ms. */
const CHUNK_ENTRIES_BESIDE_CLIENTS = 250;

export interface SnapshotSenderOptions {
  readonly host: ReplicaHost;
  readonly clusterId: string;
  /** Paces all full syncs together. */
  readonly throttle: SyncThrottle;
  readonly metrics: Metrics;
  /** Full syncs at a time, beside SHARD_STREAMS_MAX streams of such as are split; one more is refused as OVERLOADED, and comes again. */
  readonly syncsMax: number;
}

/** A replica's store by sub-ranges, each as of the moment at which it is read (R33). */
export class SnapshotSender {
  readonly #options: SnapshotSenderOptions;
  readonly #sentBytes: Counter;
  /** Streams under way, of full syncs that are not split, and of such as are. */
  #whole = 0;
  #shards = 0;

  constructor(options: SnapshotSenderOptions) {
    this.#options = options;
    this.#sentBytes = options.metrics.counter('atoll_sync_sent_bytes_total', { description: 'Bytes of keys and values that this node sent in full syncs.', unit: 'By' });
    options.metrics.gauge('atoll_syncs_running', { description: 'Streams of full syncs that this node sends at the moment; one that is split has several.' }, () => this.#whole + this.#shards);
  }

  /** Handler of `Transfer.FetchSnapshot`. A request for a sub-range that is not one of several of a full sync is a repair, which its receiver bounds and paces itself. */
  readonly send: ServerStreamHandler<FetchSnapshotRequest, FetchSnapshotResponse> = async (call, context) => {
    const { request } = call;
    const { clusterId, syncsMax, throttle } = this.#options;
    requireOwnCluster(clusterId, request.clusterId);
    const { sharded } = request;
    if (endOf(request) !== undefined && !sharded) return this.#sendAll(call, context.signal, undefined);
    if (!sharded && this.#whole >= syncsMax) throw new AtollError('OVERLOADED', `${syncsMax} full syncs are under way from this node`);
    if (sharded && this.#shards >= SHARD_STREAMS_MAX) throw new AtollError('OVERLOADED', `${SHARD_STREAMS_MAX} streams of full syncs that are split are under way from this node`);
    this.#count(sharded, 1);
    throttle.begin(performance.now());
    try {
      return await this.#sendAll(call, context.signal, throttle);
    } finally {
      throttle.end(performance.now());
      this.#count(sharded, -1);
    }
  };

  #count(isShard: boolean, by: number): void {
    if (isShard) this.#shards += by;
    else this.#whole += by;
  }

  async #sendAll(call: ServerWritableStream<FetchSnapshotRequest, FetchSnapshotResponse>, signal: AbortSignal, throttle: SyncThrottle | undefined): Promise<void> {
    const { request } = call;
    let next: Hash64 | undefined = { high: request.fromHigh, low: request.fromLow };
    // The receiver has the log behind the order of its install, so what is known now is all that it may miss (R38).
    let isFirst = true;
    while (next !== undefined) {
      const from: Hash64 = next;
      const entriesMax = throttle?.isSparing === true ? CHUNK_ENTRIES_BESIDE_CLIENTS : CHUNK_ENTRIES;
      const slice = readSlice(this.#options.host, request, from, isFirst, entriesMax);
      next = slice.next;
      for (const each of toMessages(from, slice)) {
        await writeWithBackpressure(call, isFirst ? { ...each.message, ...slice.heads } : each.message, signal);
        isFirst = false;
        if (throttle === undefined) await nextTurn();
        else await this.#pace(each, throttle, signal, next === undefined && !each.message.continued);
      }
    }
  }

  /** Between two messages others get their turn, at any rate: up to 16 of a MiB each would be encoded in one otherwise. */
  async #pace({ bytes, entries }: Sent, throttle: SyncThrottle, signal: AbortSignal, isLast: boolean): Promise<void> {
    this.#sentBytes.add(bytes);
    const weight = throttle.weigh(bytes, entries);
    if (isLast) return void throttle.rate.delayMs(weight, performance.now());
    await throttle.rate.wait(weight, signal);
    await nextTurn();
  }
}

/** A message with the keys and values in it: their bytes, and how many entries. */
interface Sent {
  readonly message: FetchSnapshotResponse;
  readonly bytes: number;
  readonly entries: number;
}

interface Slice {
  readonly entries: readonly StoredEntry[];
  readonly next: Hash64 | undefined;
  readonly readSeq: number;
  readonly epoch: number;
  readonly results: readonly ResultPiece[];
  /** Of the first one alone: fencing tokens, where any was ever seen, and the origins of a copy. */
  readonly heads: Pick<FetchSnapshotResponse, 'fences' | 'copies'>;
}

/** One sub-range, checked anew each time: the role, the lineage and the receiver's place may have changed meanwhile. */
function readSlice(host: ReplicaHost, request: FetchSnapshotRequest, from: Hash64, isFirst: boolean, entriesMax: number): Slice {
  const hosted = host.replica(request.keyspace, request.partition);
  hosted?.hearEpochOf(request.replicaId as ReplicaId, request.epoch);
  const epoch = hosted && epochOfSender(hosted, request);
  if (hosted === undefined || epoch === undefined) throw new AtollError('NOT_LEADER', `this node does not lead ${request.keyspace}/${request.partition}`);
  if (epoch !== request.epoch) throw new AtollError('STALE_EPOCH', `the epoch is ${epoch}, not ${request.epoch}`);
  const { state } = hosted.replica;
  if (state.generation.counter !== request.generation?.counter || state.generation.id !== request.generation.id) {
    throw new AtollError('STALE_GENERATION', `the generation is ${state.generation.counter}`);
  }
  if (!isNamed(hosted, request.replicaId as ReplicaId)) throw new AtollError('REPLICA_UNKNOWN', `replica ${request.replicaId} does not follow here`);
  const { entries, next } = state.store.readRange(from, endOf(request), { entriesMax, bytesMax: CHUNK_BYTES });
  return {
    entries: request.logSeq === 0 ? entries : chunkEntries(entries, request.logSeq),
    next,
    readSeq: state.appliedSeq,
    epoch,
    results: isFirst && request.wantsResults ? resultPieces(state) : [],
    heads: isFirst ? { fences: state.fences.isEmpty ? undefined : state.fences.encode(), copies: state.copies.isEmpty ? undefined : state.copies.encode() } : {},
  };
}

/**
 * Of the leader; for a sub-range of several also of a replica that follows: what it has applied is committed (R19) and, at
 * that seq, the same everywhere (I6). It must be whole, and not behind the log that the receiver has beside it (R33).
 */
function epochOfSender({ replica }: HostedReplica, { sharded, logSeq }: FetchSnapshotRequest): number | undefined {
  const { leader, follower, state } = replica;
  if (leader !== undefined) return leader.epoch;
  return sharded && follower !== undefined && state.isInstalled && logSeq > 0 && state.appliedSeq >= logSeq ? follower.epoch : undefined;
}

/** A leader sends to who follows it, and a replica that follows to whom its record names. */
function isNamed({ replica }: HostedReplica, receiver: ReplicaId): boolean {
  if (replica.leader !== undefined) return replica.leader.follower(receiver) !== undefined;
  return replica.record !== undefined && hasReplica(membersOf(replica.record.record), receiver);
}

const endOf = ({ toHigh, toLow }: FetchSnapshotRequest): Hash64 | undefined => hashOfHalves(toHigh, toLow);

/** Lazily: checksums of a value of 64 MiB take some 20 ms, in pieces of 1 MiB nobody waits for them. */
function* toMessages(from: Hash64, slice: Slice): Generator<Sent> {
  const base = message(from, slice);
  for (const piece of slice.results) yield { message: { ...base, ...piece, continued: true }, bytes: 0, entries: 0 };
  const rows = encodeRows(slice.entries, isLarge);
  const large = slice.entries.flatMap(({ value }, index) => (isLarge(value) ? [{ index, value }] : []));
  let checksum = rows.length > 0 ? checksum32(rows) : 0;
  const bytes = slice.entries.reduce((sum, { key, value }) => sum + key.length + (isLarge(value) ? 0 : value.length), 0);
  yield { message: { ...base, rows, continued: large.length > 0, checksum }, bytes, entries: slice.entries.length };
  for (const { index, value } of large) {
    for (let offset = 0; offset < value.length; offset += WIRE_PART_BYTES_MAX) {
      const valuePart = value.subarray(offset, offset + WIRE_PART_BYTES_MAX);
      checksum = (checksum + checksum32(valuePart)) >>> 0;
      const isLast = index === large.at(-1)!.index && offset + valuePart.length === value.length;
      yield { message: { ...base, valuePart, partOf: index, continued: !isLast, checksum }, bytes: valuePart.length, entries: 0 };
    }
  }
}

const isLarge = (value: Buffer): boolean => value.length > WIRE_PART_BYTES_MAX;

function message(from: Hash64, slice: Slice): FetchSnapshotResponse {
  return {
    fromHigh: from.high,
    fromLow: from.low,
    toHigh: slice.next?.high,
    toLow: slice.next?.low,
    readSeq: slice.readSeq,
    epoch: slice.epoch,
    rows: EMPTY,
    checksum: 0,
    valuePart: EMPTY,
    partOf: 0,
    continued: false,
    ...NO_RESULTS,
  };
}

const EMPTY = Buffer.alloc(0);

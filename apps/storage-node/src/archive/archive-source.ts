import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ServerWritableStream } from '@grpc/grpc-js';
import {
  ReadPartitionResponse,
  type ArchivePartition,
  type ArchivePlace as ArchivePlaceMessage,
  type HeldPartition,
  type HoldBarrierRequest,
  type HoldBarrierResponse,
  type ReadPartitionRequest,
  type ReleaseBarrierRequest,
  type ReleaseBarrierResponse,
} from '@atoll/contracts/atoll/v1/archive';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { beginOfArchive, readForArchive, type ArchiveLimits, type ArchivePlace, type ArchiveReading, type BarrierAnswer, type Leader, type LogPosition, type ReplicaState } from '@atoll/core-replication';
import { KIB, hashOfHalves } from '@atoll/core-runtime';
import { FIRST_HASH, encodeRows } from '@atoll/core-store';
import { writePaced, type CallContext } from '@atoll/platform-grpc';
import { movedBehind, type HostedReplica } from '../hosted-replica.ts';
import { requireOwnCluster } from '../own-cluster.ts';
import type { ReplicaHost } from '../replica-host.ts';
import type { SyncThrottle } from '../replication/sync-throttle.ts';
import { readMoment } from '../turn.ts';

/** A message ends behind the value that reaches its bound; with one large value it still fits into what gRPC takes. */
const LIMITS: ArchiveLimits = { logBytesMax: 512 * KIB, slice: { entriesMax: 2000, bytesMax: 256 * KIB } };
/** While clients are served: what waits behind the reading of a sub-range waits 2 ms at most, also where values are large. */
const LIMITS_BESIDE_CLIENTS: ArchiveLimits = { ...LIMITS, slice: { entriesMax: 250, bytesMax: 128 * KIB } };
const HOLD_MS_MAX = 10_000;
/** A replica that has not come to what is wanted within this time says so: another one may have. */
const BEHIND_MS_MAX = 5000;
/** Streams of archives from this node; one more is refused as OVERLOADED, and comes again (I10). */
const STREAMS_MAX = 64;

export interface ArchiveSourceOptions {
  readonly host: ReplicaHost;
  readonly clusterId: string;
  /** Paces rows, together with full syncs. */
  readonly throttle: SyncThrottle;
}

/** What this node does for backups: holds its leaders still for a cut, and reads partitions (R39). */
export class ArchiveSource {
  readonly #options: ArchiveSourceOptions;
  #streams = 0;

  constructor(options: ArchiveSourceOptions) {
    this.#options = options;
  }

  /** Handler of `Archive.HoldBarrier`. */
  async hold(request: HoldBarrierRequest): Promise<HoldBarrierResponse> {
    const { clusterId, barrier, holdMs, partitions } = request;
    requireOwnCluster(this.#options.clusterId, clusterId);
    if (barrier === '') throw invalidArgument('barrier', 'is missing');
    if (!(holdMs >= 1 && holdMs <= HOLD_MS_MAX)) throw invalidArgument('hold_ms', `must be 1 to ${HOLD_MS_MAX}`);
    const now = readMoment();
    const held: Leader[] = [];
    const answers = partitions.map((partition) => {
      const leader = this.#replica(partition)?.replica.leader;
      if (leader === undefined) return Promise.resolve<BarrierAnswer>({ kind: 'not-held', problem: 'it is not led here' });
      held.push(leader);
      return new Promise<BarrierAnswer>((resolve) => leader.holdBarrier({ id: barrier, holdMs }, now, resolve));
    });
    // Also when whoever asked is gone. A release that comes later finds nothing held.
    setTimeout(() => {
      for (const leader of held) leader.releaseBarrier(barrier, readMoment());
    }, holdMs).unref();
    const settled = await Promise.all(answers);
    return { partitions: settled.map((answer, index) => this.#toHeld(answer, partitions[index]!)) };
  }

  /** Handler of `Archive.ReleaseBarrier`: of all partitions in one turn. */
  release({ clusterId, barrier, partitions }: ReleaseBarrierRequest): ReleaseBarrierResponse {
    requireOwnCluster(this.#options.clusterId, clusterId);
    const now = readMoment();
    const problems = partitions.map((partition) => {
      const leader = this.#replica(partition)?.replica.leader;
      return leader === undefined ? 'it is not led here any more' : (leader.releaseBarrier(barrier, now).problem ?? '');
    });
    return { problems };
  }

  /** Handler of `Archive.ReadPartition`. Responses are encoded in the turn that reads log and store. */
  async read(call: ServerWritableStream<ReadPartitionRequest, Buffer>, { signal }: CallContext): Promise<void> {
    const { request } = call;
    requireOwnCluster(this.#options.clusterId, request.clusterId);
    const { throttle } = this.#options;
    const upTo = request.upTo;
    let place = placeOf(request.place);
    if (upTo !== undefined && (place === undefined || place.next !== undefined)) throw invalidArgument('up_to', 'needs a place at which all rows were read');
    if (this.#streams >= STREAMS_MAX) throw new AtollError('OVERLOADED', `${STREAMS_MAX} streams of archives are under way from this node`);
    this.#streams += 1;
    // What has all rows reads log alone, which followers read unpaced as well.
    const isPaced = place?.next !== undefined || place === undefined;
    if (isPaced) throttle.begin(performance.now());
    try {
      const behindUntilMs = performance.now() + BEHIND_MS_MAX;
      for (;;) {
        const hosted = this.#whole(request.partition);
        const { state } = hosted.replica;
        place ??= beginOfArchive(state, FIRST_HASH);
        const reading = readForArchive(state, place, upTo, throttle.isSparing ? LIMITS_BESIDE_CLIENTS : LIMITS);
        if (reading.kind === 'gone') throw new AtollError('SNAPSHOT_GONE', reading.problem);
        if (reading.kind === 'ahead') {
          const remainingMs = behindUntilMs - performance.now();
          if (remainingMs <= 0) throw new AtollError('REPLICA_NOT_READY', `this replica has applied ${state.appliedSeq}, and more is wanted`);
          await movedBehind(hosted, { seq: state.appliedSeq, waitMs: remainingMs, signal });
          continue;
        }
        place = reading.place;
        await writePaced(call, encode(state, reading, upTo), signal);
        if (reading.kind === 'end') return;
        if (reading.kind === 'rows') await throttle.rate.wait(throttle.weigh(bytesOf(reading), reading.entries.length), signal);
        await nextTurn();
      }
    } finally {
      this.#streams -= 1;
      if (isPaced) throttle.end(performance.now());
    }
  }

  #replica({ keyspace, keyspaceId, partition }: ArchivePartition): HostedReplica | undefined {
    const hosted = this.#options.host.keyspace(keyspace);
    return hosted?.id === keyspaceId ? hosted.replica(partition) : undefined;
  }

  /** Looked up anew each time: the replica may be dropped, or its data replaced, meanwhile. */
  #whole(partition: ArchivePartition | undefined): HostedReplica {
    if (partition === undefined) throw invalidArgument('partition', 'is missing');
    const hosted = this.#replica(partition);
    if (hosted === undefined || hosted.isDropped) throw new AtollError('REPLICA_UNKNOWN', `this node has no replica of ${partition.keyspace}/${partition.partition}`);
    if (!hosted.replica.state.hasAllData) throw new AtollError('REPLICA_NOT_READY', 'the replica is being filled');
    return hosted;
  }

  #toHeld(answer: BarrierAnswer, partition: ArchivePartition): HeldPartition {
    const generation = this.#replica(partition)?.replica.state.generation;
    if (answer.kind === 'held' && generation !== undefined) return { marker: { ...answer.position }, generation: { ...generation }, stampMs: answer.stampMs, problem: '' };
    return { marker: undefined, generation: undefined, stampMs: 0, problem: answer.kind === 'not-held' ? answer.problem : 'the replica was dropped' };
  }
}

function placeOf(message: ArchivePlaceMessage | undefined): ArchivePlace | undefined {
  if (message === undefined) return undefined;
  const { generation, position, nextHigh, nextLow } = message;
  if (generation === undefined || position === undefined) throw invalidArgument('place', 'lacks its generation or its position');
  return { generation, position, next: hashOfHalves(nextHigh, nextLow) };
}

type Sent = Extract<ArchiveReading, { place: ArchivePlace }>;

const bytesOf = ({ entries }: Extract<ArchiveReading, { kind: 'rows' }>): number => entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0);

function encode(state: ReplicaState, reading: Sent, upTo: LogPosition | undefined): Buffer {
  const { generation, position, next } = reading.place;
  const isEnd = reading.kind === 'end';
  const message: ReadPartitionResponse = {
    rows: reading.kind === 'rows' ? encodeRows(reading.entries) : EMPTY,
    log: reading.kind === 'log' ? reading.bytes : EMPTY,
    entries: reading.kind === 'rows' ? reading.entries.length : reading.kind === 'log' ? reading.count : 0,
    place: { generation: { ...generation }, position: { ...position }, nextHigh: next?.high, nextLow: next?.low },
    end: isEnd,
    stampMs: isEnd ? stampAt(state, position) : 0,
    digest: isEnd && upTo !== undefined ? digestAt(state, upTo) : undefined,
    bytesLeft: next === undefined ? 0 : Math.round(state.store.liveBytes * (1 - next.high / 2 ** 32)),
  };
  const bytes = ReadPartitionResponse.encode(message).finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The partition's time at a place in its log. */
function stampAt({ log, clock }: ReplicaState, { seq }: LogPosition): number {
  return seq > log.base.seq ? log.entryAt(seq).stampMs : clock.read(performance.now());
}

function digestAt(state: ReplicaState, marker: LogPosition): ReadPartitionResponse['digest'] {
  const kept = state.marks.get(marker);
  if (kept === undefined) return undefined;
  let sumHigh = 0;
  let sumLow = 0;
  for (let at = 0; at < kept.leaves.length; at += 2) {
    sumHigh = (sumHigh + kept.leaves[at]!) >>> 0;
    sumLow = (sumLow + kept.leaves[at + 1]!) >>> 0;
  }
  return { entries: kept.count, sumHigh, sumLow };
}

const EMPTY = Buffer.alloc(0);

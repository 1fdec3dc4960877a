import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { FollowSourceResponse, type ConfirmFreezeRequest, type ConfirmFreezeResponse, type CopyCheck, type DescribeSourceRequest, type DescribeSourceResponse, type FollowSourceRequest, type FrozenPartition } from '@atoll/contracts/atoll/v1/copy';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { keyspaceNotFound, type KeyspaceSpec } from '@atoll/core-membership';
import { PartDigests, beginOfCopy, digestRange, readDifferences, readSource, type DifferenceReading, type ReplicaState, type SourceLimits, type SourcePlace } from '@atoll/core-replication';
import { KIB, hashOfHalves, type Hash64 } from '@atoll/core-runtime';
import { FIRST_HASH } from '@atoll/core-store';
import { writePaced, type CallContext } from '@atoll/platform-grpc';
import { copyOwnership } from '@atoll/platform-wire';
import { movedBehind, type HostedReplica } from '../hosted-replica.ts';
import { requireOwnCluster } from '../own-cluster.ts';
import type { ReplicaHost } from '../replica-host.ts';
import type { SyncThrottle } from '../replication/sync-throttle.ts';
import { readMoment } from '../turn.ts';

/** A message ends behind the value that reaches its bound; with one large value it still fits into what gRPC takes. */
const LIMITS: SourceLimits = {
  log: { entriesMax: 2000, bytesMax: 256 * KIB },
  slice: { entriesMax: 2000, bytesMax: 256 * KIB },
};
/** While clients are served: as in full syncs, what waits behind the reading of a sub-range waits some 2 ms. */
const LIMITS_BESIDE_CLIENTS: SourceLimits = { ...LIMITS, slice: { ...LIMITS.slice, entriesMax: 250 } };
/** A reader that has everything hears how far it is so often, in ms: its place must not fall behind the log that is kept. */
export const TELL_MS = 500;

/** Between two comparisons of all keys, in ms. */
const COMPARE_EVERY_MS = 60_000;
/** Entries that expire so soon are not compared: each side removes them by a clock of its own, which may differ by less (R23). */
const EXPIRING_MS = 60_000;

export interface CopySourceOptions {
  readonly host: ReplicaHost;
  readonly clusterId: string;
  /** Paces what is read out of stores, together with full syncs. */
  readonly throttle: SyncThrottle;
  /** All that this node knows of. */
  readonly keyspaces: () => Iterable<KeyspaceSpec>;
}

/** Serves partitions that this node leads to the partitions of copies (R37). */
export class CopySource {
  readonly #options: CopySourceOptions;

  constructor(options: CopySourceOptions) {
    this.#options = options;
  }

  /** Handler of `Copy.FollowSource`. Responses are encoded in the turn that reads log and store. */
  async follow(call: ServerWritableStream<FollowSourceRequest, Buffer>, { signal }: CallContext): Promise<void> {
    const { request } = call;
    const { clusterId, throttle } = this.#options;
    requireOwnCluster(clusterId, request.clusterId);
    const belongs = copyOwnership(request);
    let place = startOf(request);
    const held = heldBy(request);
    this.#requireMarked(request);
    let former = this.#formerOf(request);
    let isCopying = false;
    let compareFrom: Hash64 | undefined = FIRST_HASH;
    let comparedMs = 0;
    const pace = (wanted: boolean): void => {
      if (wanted === isCopying) return;
      isCopying = wanted;
      if (wanted) throttle.begin(performance.now());
      else throttle.end(performance.now());
    };
    try {
      for (;;) {
        const hosted = this.#led(request);
        const { state } = hosted.replica;
        place ??= beginOfCopy(state, FIRST_HASH);
        if (compareFrom === undefined && performance.now() - comparedMs >= COMPARE_EVERY_MS) compareFrom = FIRST_HASH;
        pace(place.next !== undefined || compareFrom !== undefined);
        const limits = throttle.isSparing ? LIMITS_BESIDE_CLIENTS : LIMITS;
        const reading = held === undefined ? withoutParts(readSource(state, place, belongs, limits)) : readDifferences(state, place, belongs, held, limits);
        if (reading.kind === 'restart') return await writePaced(call, encode({ ...EMPTY, restart: reading.reason }), signal);
        if (reading.kind === 'ahead') throw new AtollError('REPLICA_NOT_READY', 'the leader of the source has not come so far yet');
        place = reading.place;
        const isWhole = reading.isAtHead && place.next === undefined && reading.sliceEntries === 0 && reading.replaced.length === 0;
        const compared: ReadCheck | undefined = isWhole && compareFrom !== undefined ? readCheck(state, compareFrom, belongs, limits) : undefined;
        await writePaced(call, encode({ ...toMessage(state, reading), check: compared?.check, former, ...(held !== undefined && toParts(reading)) }), signal);
        former = undefined;
        if (compared !== undefined) {
          compareFrom = compared.next;
          comparedMs = performance.now();
          await throttle.rate.wait(throttle.weigh(compared.readBytes, compared.readEntries), signal);
        }
        if (reading.readEntries > 0) await throttle.rate.wait(throttle.weigh(reading.readBytes, reading.readEntries), signal);
        if (!reading.isAtHead || place.next !== undefined || compareFrom !== undefined) await nextTurn();
        else await movedBehind(hosted, { seq: place.origin.seq, waitMs: TELL_MS, signal });
      }
    } finally {
      pace(false);
    }
  }

  /** Answer to `Copy.DescribeSource`: the partitions that this node leads. Throws KEYSPACE_NOT_FOUND. */
  describe({ keyspace: name }: DescribeSourceRequest): DescribeSourceResponse {
    const { host, clusterId } = this.#options;
    const keyspace = host.keyspace(name);
    if (keyspace === undefined) throw keyspaceNotFound(name);
    const led = [...keyspace.replicas()].filter(({ replica }) => replica.leader?.isServing === true && replica.state.hasAllData);
    return {
      clusterId,
      keyspaceId: keyspace.spec.id,
      keyspace: undefined,
      archive: '',
      partitions: led.map(({ partition, replica: { state } }) => ({ partition, bytes: state.store.liveBytes, entries: state.store.entryCount, generation: state.generation.counter })),
    };
  }

  /** Answer to `Copy.ConfirmFreeze`. Partitions that are not led here, or not still yet, are left out. */
  confirmFreeze({ keyspace: name, keyspaceId, cutOver, partitions, seal, traceparent }: ConfirmFreezeRequest): ConfirmFreezeResponse {
    const keyspace = this.#options.host.keyspace(name);
    const confirmed: FrozenPartition[] = [];
    let problem = '';
    for (const partition of keyspace?.id === keyspaceId ? partitions : []) {
      const hosted = keyspace?.replica(partition);
      const { state, leader } = hosted?.replica ?? {};
      if (hosted !== undefined && traceparent !== '') hosted.cutOver = { id: cutOver, traceparent };
      const answer = leader?.confirmFreeze(cutOver, seal, readMoment());
      if (answer?.kind === 'confirmed') confirmed.push({ partition, barrier: { generation: state!.generation.counter, ...answer.position }, timeMs: state!.clock.read(performance.now()) });
      else problem ||= `partition ${partition}: ${answer?.problem ?? 'it is not led here'}`;
    }
    return { partitions: confirmed, problem };
  }

  /**
   * What stands by in this cluster may take the place of this keyspace by waiting alone, which is safe as long as whoever leads
   * here knows that it has to stop when it cannot read its record (R15). One whose record does not say so yet serves it nothing:
   * so of a partition that follows, the record has said so, and says so to all later leaders.
   */
  #requireMarked(request: FollowSourceRequest): void {
    const { clusterId, keyspaces } = this.#options;
    if (request.targetClusterId !== clusterId) return;
    const target = [...keyspaces()].find(({ id }) => id === request.targetKeyspaceId);
    const isStandby = target === undefined || target.copyOf?.run !== undefined;
    if (isStandby && this.#led(request).replica.leader?.record.record.hasStandby !== true) throw new AtollError('REPLICA_NOT_READY', 'the leader of the source has not heard of the copy yet');
  }

  /** How far this partition had the one that now copies it, where it was a copy of that before. */
  #formerOf(request: FollowSourceRequest): FollowSourceResponse['former'] {
    const { keyspace, targetPartition, targetClusterId, targetKeyspaceId } = request;
    const from = this.#options.host.keyspace(keyspace)?.spec.cutOver?.from;
    if (from === undefined || from.cluster !== targetClusterId || from.keyspaceId !== targetKeyspaceId) return undefined;
    return this.#led(request).replica.state.copies.former(targetPartition)?.origin;
  }

  /** Looked up anew each time: leadership and lineage may have changed meanwhile. */
  #led({ keyspace, keyspaceId, partition }: FollowSourceRequest): HostedReplica {
    const { host } = this.#options;
    const hosted = host.keyspace(keyspace)?.id === keyspaceId ? host.replica(keyspace, partition) : undefined;
    if (hosted?.replica.leader === undefined) throw new AtollError('NOT_LEADER', `this node does not lead ${keyspace}/${partition}`);
    if (!hosted.replica.leader.isServing || !hosted.replica.state.hasAllData) throw new AtollError('REPLICA_NOT_READY', 'the leader of the source is taking office');
    return hosted;
  }
}

function startOf({ origin, nextHigh, nextLow }: FollowSourceRequest): SourcePlace | undefined {
  return origin && { origin, next: hashOfHalves(nextHigh, nextLow) };
}

interface ReadCheck {
  readonly check: CopyCheck;
  /** Where the next one begins. */
  readonly next: Hash64 | undefined;
  readonly readBytes: number;
  readonly readEntries: number;
}

/** A sub-range as it stands now; the reader has all changes up to now. */
function readCheck(state: ReplicaState, from: Hash64, belongs: (key: Uint8Array) => boolean, { slice }: SourceLimits): ReadCheck {
  const expiringByMs = state.clock.read(performance.now()) + EXPIRING_MS;
  const { digest, next, readBytes, readEntries } = digestRange(state.store, { from, to: undefined, belongs, expiringByMs }, slice);
  const check = { fromHigh: from.high, fromLow: from.low, toHigh: next?.high, toLow: next?.low, expiringByMs, entries: digest.entries, sumHigh: digest.sum.high, sumLow: digest.sum.low };
  return { check, next, readBytes, readEntries };
}

/** Of a copy that tells nothing of what it holds, all is read to be sent. */
function withoutParts(reading: ReturnType<typeof readSource>): DifferenceReading {
  return reading.kind === 'read' ? { ...reading, logChanges: reading.changes.length, replaced: [], readEntries: reading.sliceEntries, readBytes: reading.sliceBytes } : reading;
}

/** Throws INVALID_ARGUMENT. */
function heldBy({ held }: FollowSourceRequest): PartDigests | undefined {
  if (held === undefined) return undefined;
  const { bits, expiringByMs, digests } = held;
  try {
    return new PartDigests({ bits, expiringByMs, bytes: digests });
  } catch (error) {
    throw invalidArgument('held', error instanceof RangeError ? error.message : 'is malformed');
  }
}

const toParts = ({ logChanges, replaced }: Extract<DifferenceReading, { kind: 'read' }>) => ({
  logChanges,
  replaced: replaced.map(({ from, to }) => ({ fromHigh: from.high, fromLow: from.low, toHigh: to?.high, toLow: to?.low })),
});

const EMPTY: FollowSourceResponse = { check: undefined, replaced: [], former: undefined, results: true, changes: [], origin: undefined, stampMs: 0, headSeq: 0, headStampMs: 0, restart: '', sliceBytes: 0 };

function toMessage(state: ReplicaState, { changes, place, isAtHead, sliceBytes }: Extract<DifferenceReading, { kind: 'read' }>): FollowSourceResponse {
  const headStampMs = state.clock.read(performance.now());
  const { origin, next } = place;
  return {
    changes: changes.map(({ key, value, expiresAtMs, opId }) => ({ key: viewOf(key), value: value && viewOf(value), expiresAtMs, opClient: opId && viewOf(opId.clientId), opCounter: opId?.counter ?? 0 })),
    origin,
    stampMs: isAtHead ? headStampMs : state.log.entryAt(origin.seq).stampMs,
    nextHigh: next?.high,
    nextLow: next?.low,
    headSeq: state.appliedSeq,
    headStampMs,
    restart: '',
    check: undefined,
    replaced: [],
    former: undefined,
    results: true,
    sliceBytes,
  };
}

function encode(message: FollowSourceResponse): Buffer {
  return viewOf(FollowSourceResponse.encode(message).finish());
}

const viewOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

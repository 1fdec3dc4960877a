// The operations of `Cache` on the replicas of this node, without any transport: checked requests go in, answers or
// AtollErrors come out through a callback, perhaps before the call returns.
import {
  Ack,
  Condition,
  Consistency,
  type DeleteRequest,
  type DeleteResponse,
  type GetRequest,
  type GetResponse,
  type IncrementRequest,
  type IncrementResponse,
  type OpId,
  type SetRequest,
  type SetResponse,
  type TouchRequest,
  type TouchResponse,
} from '@atoll/contracts/atoll/v1/cache';
import type { Fence as FenceMessage } from '@atoll/contracts/atoll/v1/locks';
import { AtollError } from '@atoll/core-errors';
import { keyspaceNotFound, type AckLevel, type CopyOf, type KeyspaceSpec } from '@atoll/core-membership';
import type { Leader, Moment, WriteOutcome } from '@atoll/core-replication';
import { keyHash, type Hash64 } from '@atoll/core-runtime';
import { isExpired, type SetCondition, type StoredEntry, type WriteAnswer, type WriteCommand } from '@atoll/core-store';
import type { ClusterView } from '@atoll/platform-etcd';
import { checkDelete, checkGet, checkIncrement, checkSet, checkTouch, decodeVersion, encodeVersion, positionIn, toFenceOf } from '@atoll/platform-wire';
import type { Counter, Metrics, Span } from '@atoll/platform-telemetry';
import type { HostedKeyspace } from '../hosted-keyspace.ts';
import type { HostedReplica } from '../hosted-replica.ts';
import type { ReplicaHost } from '../replica-host.ts';
import { readMoment } from '../turn.ts';
import { linkCutOver, linkHandOver } from '../heartbeat/hand-over-link.ts';
import { TracedWrite, type TracedWrites } from '../replication/traced-writes.ts';

export type Done<Response> = (error: AtollError | undefined, response: Response | undefined) => void;

/** A write that is traced: where its times go. */
export interface WriteTrace {
  readonly span: Span;
  /** Monotonic time at which the span began. */
  readonly arrivedMs: number;
}

interface Target {
  readonly keyspace: HostedKeyspace;
  readonly hosted: HostedReplica;
  readonly hash: Hash64;
}

const EMPTY: Buffer = Buffer.alloc(0);

const CONDITIONS: Readonly<Record<number, SetCondition>> = {
  [Condition.CONDITION_UNSPECIFIED]: 'NONE',
  [Condition.CONDITION_NONE]: 'NONE',
  [Condition.CONDITION_IF_ABSENT]: 'IF_ABSENT',
  [Condition.CONDITION_IF_PRESENT]: 'IF_PRESENT',
  [Condition.CONDITION_IF_VERSION]: 'IF_VERSION',
};

export class CacheOperations {
  readonly #host: ReplicaHost;
  readonly #view: ClusterView;
  readonly #traces: TracedWrites;
  readonly #slowedWrites: Counter;
  readonly #stalenessMs: (hosted: HostedReplica, nowMs: number) => number;

  constructor(options: {
    host: ReplicaHost;
    view: ClusterView;
    traces: TracedWrites;
    metrics: Metrics;
    stalenessMs: (hosted: HostedReplica, nowMs: number) => number;
  }) {
    this.#slowedWrites = options.metrics.counter('atoll_slowed_writes_total', { description: 'Writes whose answers were held back for a replica that is catching up.' });
    this.#host = options.host;
    this.#view = options.view;
    this.#traces = options.traces;
    this.#stalenessMs = options.stalenessMs;
  }

  /** `span`: of the request, where it is traced. */
  get(request: GetRequest, now: Moment, done: Done<GetResponse>, span?: Span): void {
    let target: Target | undefined;
    try {
      checkGet(request);
      target = this.#target(request.keyspace, request.key);
      this.checkReadable(target, request, now);
    } catch (error) {
      if (span !== undefined && target !== undefined && isRefusal(error)) {
        linkHandOver(span, target.hosted, now.monotonicMs);
        linkCutOver(span, target.hosted);
      }
      return done(error as AtollError, undefined);
    }
    const { hosted, hash } = target;
    const { leader } = hosted.replica;
    if (request.fence !== undefined && leader !== undefined) return this.#getUnder(request.fence, { target, leader, request }, now, done);
    // A session may have seen a write that is not committed yet (ack LEADER): the leader lets its read wait, too.
    const mayWait = request.consistency <= Consistency.CONSISTENCY_STRONG || request.session.length > 0;
    if (!mayWait || leader === undefined) return done(undefined, readAnswer(target, hosted.replica.state.store.get(request.key, hash), now));
    const read = leader.read(request.key, hash);
    if (read === undefined || !('kind' in read)) return done(undefined, readAnswer(target, read, now));
    read.write.onSettled((committed) => {
      // Writes that came after the read are none of its business: under a stream of them it would wait for ever, and
      // one that commits in the same turn would be seen ahead of its place in the order sent (R26).
      if (!committed || hosted.replica.leader !== leader) return done(this.#notLeader(target), undefined);
      done(undefined, readAnswer(target, read.entry, readMoment()));
    });
  }

  /** A read under a lock is answered once earlier holders are certainly refused (I9). */
  #getUnder(proof: FenceMessage, { target, leader, request }: { target: Target; leader: Leader; request: GetRequest }, now: Moment, done: Done<GetResponse>): void {
    const { hash, keyspace } = target;
    if (keyspace.spec.cutOver !== undefined) leader.endCopy(keyspace.spec.cutOver, now);
    leader.readUnder(toFenceOf(proof, request.key), { key: request.key, hash }, now, (outcome) => {
      if (outcome.kind === 'read') return done(undefined, readAnswer(target, outcome.entry, readMoment()));
      done(outcome.reason === 'NOT_LEADER' ? this.#notLeader(target) : new AtollError(outcome.reason, outcome.message), undefined);
    });
  }

  set(request: SetRequest, now: Moment, done: Done<SetResponse>, trace?: WriteTrace): void {
    let target: Target;
    let command: WriteCommand;
    try {
      target = this.#target(request.keyspace, request.key);
      const { spec } = target.keyspace;
      checkSet(request, spec.valueBytesMax);
      command = {
        kind: 'set',
        value: request.value,
        expiresAtMs: this.#expiry(target, request, now),
        condition: CONDITIONS[request.condition] ?? 'NONE',
        expectedVersion: decodeVersion(request.expectedVersion),
      };
    } catch (error) {
      return done(error as AtollError, undefined);
    }
    this.#write(target, request, command, now, trace, (error, answer, version, session) => {
      if (error !== undefined) return done(error, undefined);
      const applied = answer?.kind === 'set' && answer.applied;
      done(undefined, { applied, version, session });
    });
  }

  delete(request: DeleteRequest, now: Moment, done: Done<DeleteResponse>, trace?: WriteTrace): void {
    let target: Target;
    let command: WriteCommand;
    try {
      checkDelete(request);
      target = this.#target(request.keyspace, request.key);
      command = { kind: 'delete', expectedVersion: decodeVersion(request.expectedVersion) };
    } catch (error) {
      return done(error as AtollError, undefined);
    }
    this.#write(target, request, command, now, trace, (error, answer, version, session) => {
      if (error !== undefined) return done(error, undefined);
      done(undefined, { applied: answer?.kind === 'delete' && answer.applied, version, session });
    });
  }

  increment(request: IncrementRequest, now: Moment, done: Done<IncrementResponse>, trace?: WriteTrace): void {
    let target: Target;
    let command: WriteCommand;
    try {
      checkIncrement(request);
      target = this.#target(request.keyspace, request.key);
      const expiresAtMs = this.#expiry(target, { ttlMs: request.ttlMs, noExpiry: false }, now);
      command = { kind: 'increment', delta: request.delta, initial: request.initial, expiresAtMs };
    } catch (error) {
      return done(error as AtollError, undefined);
    }
    this.#write(target, request, command, now, trace, (error, answer, version, session) => {
      if (error !== undefined) return done(error, undefined);
      done(undefined, { value: answer?.kind === 'increment' ? answer.value : 0n, version, session });
    });
  }

  touch(request: TouchRequest, now: Moment, done: Done<TouchResponse>, trace?: WriteTrace): void {
    let target: Target;
    let command: WriteCommand;
    try {
      checkTouch(request);
      target = this.#target(request.keyspace, request.key);
      command = { kind: 'touch', expiresAtMs: this.#expiry(target, request, now) };
    } catch (error) {
      return done(error as AtollError, undefined);
    }
    this.#write(target, request, command, now, trace, (error, answer, version, session) => {
      if (error !== undefined) return done(error, undefined);
      const touched = answer?.kind === 'touch' ? answer : { applied: false, expiresAtMs: 0 };
      done(undefined, { found: touched.applied, version, expiresAtMs: touched.expiresAtMs, session });
    });
  }

  /**
   * Whether this replica may answer such a read. Throws NOT_LEADER, REPLICA_NOT_READY, REPLICA_TOO_STALE,
   * SESSION_LOST, SESSION_MALFORMED.
   */
  checkReadable(
    target: { readonly keyspace: HostedKeyspace; readonly hosted: HostedReplica },
    request: { readonly consistency: number; readonly maxStalenessMs: number; readonly session: Buffer },
    now: Moment,
  ): void {
    const { hosted } = target;
    const { state, leader } = hosted.replica;
    const isStrong = request.consistency <= Consistency.CONSISTENCY_STRONG;
    if (isStrong) {
      if (leader === undefined) throw this.#notLeader(target);
      const refusal = leader.refusalOfReads(now.monotonicMs);
      if (refusal !== undefined) throw new AtollError(refusal.reason, refusal.message);
    } else if (!state.hasAllData || hosted.replica.role.kind === 'idle') {
      throw new AtollError('REPLICA_NOT_READY', 'the replica is being filled or follows nobody');
    }
    if (request.consistency === Consistency.CONSISTENCY_BOUNDED && this.#stalenessMs(hosted, now.monotonicMs) > request.maxStalenessMs) {
      throw new AtollError('REPLICA_TOO_STALE', `the replica may be more than ${request.maxStalenessMs} ms behind`);
    }
    if (request.session.length > 0) this.#checkSession(target, request.session, leader !== undefined && leader.refusalOfReads(now.monotonicMs) === undefined);
  }

  #checkSession(target: { readonly keyspace: HostedKeyspace; readonly hosted: HostedReplica }, session: Buffer, isLeader: boolean): void {
    const { hosted, keyspace } = target;
    const seen = positionIn(session, keyspace.tag, hosted.partition);
    if (seen === undefined) return;
    const { state } = hosted.replica;
    const { counter } = state.generation;
    if (seen.generation < counter) throw new AtollError('SESSION_LOST', 'what the session saw was lost: the partition began anew (R3)');
    if (isLeader && seen.generation === counter) {
      // What this leader appended commits; what it never had, or has of another epoch, was lost with an earlier leader.
      if (state.log.holds(seen)) return;
      throw new AtollError('SESSION_LOST', 'the session saw a write that was not acknowledged by all replicas and is lost');
    }
    if (seen.generation > counter || seen.seq > state.appliedSeq) {
      throw new AtollError('REPLICA_TOO_STALE', 'the replica does not have what the session saw yet');
    }
    // What is applied here is committed: whatever else the session saw in its place is lost.
    if (!state.log.holds(seen)) throw new AtollError('SESSION_LOST', 'the session saw a write that was not acknowledged by all replicas and is lost');
  }

  /** The replica of a key on this node. Throws KEYSPACE_NOT_FOUND, NOT_LEADER. */
  #target(name: string, key: Uint8Array): Target {
    const keyspace = this.#host.keyspace(name);
    if (keyspace === undefined) {
      const spec = this.#view.keyspace(name === '' ? 'default' : name);
      if (spec === undefined) throw keyspaceNotFound(name);
      throw new AtollError('NOT_LEADER', `this node holds nothing of keyspace ${spec.name}`, { metadata: { keyspace: spec.name } });
    }
    const partition = keyspace.partitionOf(key);
    const hosted = keyspace.replica(partition);
    if (hosted === undefined) throw this.notLeaderOf(keyspace.spec.name, partition);
    return { keyspace, hosted, hash: keyHash(key) };
  }

  #notLeader(target: { readonly hosted: HostedReplica }): AtollError {
    return this.notLeaderOf(target.hosted.keyspace, target.hosted.partition);
  }

  /** Names the leader that the table has, so that the caller can go there at once. */
  notLeaderOf(keyspace: string, partition: number): AtollError {
    const record = this.#view.partition(keyspace, partition)?.record;
    const node = record?.leader?.node;
    return new AtollError('NOT_LEADER', `this node does not lead partition ${partition} of ${keyspace}`, {
      metadata: {
        keyspace,
        partition: String(partition),
        epoch: String(record?.epoch ?? 0),
        leader: node ?? '',
        leader_address: node === undefined ? '' : (this.#view.nodes().get(node)?.address ?? ''),
      },
    });
  }

  #expiry(target: Target, request: { readonly ttlMs: number; readonly noExpiry: boolean }, now: Moment): number {
    const ttlMs = request.noExpiry ? 0 : request.ttlMs > 0 ? request.ttlMs : target.keyspace.spec.defaultTtlMs;
    return ttlMs === 0 ? 0 : Math.floor(target.hosted.replica.state.clock.lead(now.monotonicMs, now.wallMs)) + ttlMs;
  }

  #write(
    target: Target,
    request: { readonly key: Buffer; readonly ack: number; readonly opId: OpId | undefined; readonly session: Buffer; readonly fence?: FenceMessage | undefined },
    command: WriteCommand,
    now: Moment,
    trace: WriteTrace | undefined,
    done: (error: AtollError | undefined, answer: WriteAnswer | undefined, version: Buffer, session: Buffer) => void,
  ): void {
    const { hosted, keyspace, hash } = target;
    const { leader } = hosted.replica;
    // It waits for the office to be settled, or comes too late.
    if (trace !== undefined && leader?.isHandingOver !== false) linkHandOver(trace.span, hosted, now.monotonicMs);
    if (leader === undefined) return done(this.#notLeader(target), undefined, EMPTY, EMPTY);
    const { copyOf, cutOver } = keyspace.spec;
    if (copyOf !== undefined) return done(copying(keyspace.spec.name, copyOf), undefined, EMPTY, EMPTY);
    if (cutOver !== undefined) leader.endCopy(cutOver, now);
    if (hosted.journal !== undefined && this.#host.isJournalFull) {
      return done(new AtollError('OVERLOADED', 'the disk of this node is behind'), undefined, EMPTY, EMPTY);
    }
    const isHeld = leader.isHandingOver;
    let traced: TracedWrite | undefined;
    if (trace !== undefined) {
      trace.span.setAttributes({ 'atoll.keyspace': hosted.keyspace, 'atoll.partition': hosted.partition, 'atoll.epoch': leader.epoch });
      traced = new TracedWrite(trace.span, trace.arrivedMs);
    }
    const onOutcome = (outcome: WriteOutcome): void => {
      if (traced !== undefined) this.#traces.answered(hosted, traced);
      if (outcome.kind === 'failed') {
        if (trace !== undefined && !isHeld && outcome.reason === 'NOT_LEADER') linkHandOver(trace.span, hosted, performance.now());
        if (trace !== undefined && outcome.reason === 'PARTITION_UNAVAILABLE') linkCutOver(trace.span, hosted);
        const error = outcome.reason === 'NOT_LEADER' ? this.#notLeader(target) : outcome.reason === 'KEYSPACE_FROZEN' ? frozen(keyspace.spec) : new AtollError(outcome.reason, outcome.message, outcome.metadata && { metadata: outcome.metadata });
        return done(error, undefined, EMPTY, EMPTY);
      }
      const { answer, version } = outcome;
      const session = version === undefined ? hosted.appliedSession() : hosted.sessionAt(version.epoch, version.seq);
      const answered = (): void => done(undefined, answer, version === undefined ? EMPTY : encodeVersion(version), session);
      const pauseMs = leader.answerPauseMs;
      if (pauseMs === 0) return answered();
      // At most as many wait as may be under way (I10).
      this.#slowedWrites.add();
      setTimeout(answered, pauseMs);
    };
    const ack: AckLevel = request.ack === Ack.ACK_UNSPECIFIED ? keyspace.spec.ack : request.ack === Ack.ACK_LEADER ? 'LEADER' : 'IN_SYNC';
    const endSeq = hosted.replica.state.log.end.seq;
    const fence = request.fence && toFenceOf(request.fence, request.key);
    leader.write({ key: request.key, hash, command, opId: request.opId, repeatAgeMs: request.opId?.repeatAgeMs ?? 0, ack, fence }, now, onOutcome);
    const appendedSeq = hosted.replica.state.log.end.seq;
    if (traced !== undefined && appendedSeq > endSeq) this.#traces.add(hosted, traced, appendedSeq);
  }
}

/** Until it is whole a copy shows its source and nothing else (R37). */
const copying = (name: string, { keyspace, job }: CopyOf): AtollError =>
  new AtollError('KEYSPACE_COPYING', `keyspace: ${name} is being copied from ${keyspace} by migration ${job} and takes no other writes`, { metadata: { field: 'keyspace', keyspace: name, migration: job } });

/** It is read as ever. A node that has not read why says what is certain. */
function frozen({ name, freeze }: KeyspaceSpec): AtollError {
  const { movedTo, note = '' } = freeze ?? {};
  if (movedTo === undefined) return new AtollError('KEYSPACE_FROZEN', `keyspace: ${name} is frozen and takes no writes until it is unfrozen${note === '' ? '' : `: ${note}`}`, { metadata: { field: 'keyspace', keyspace: name } });
  const { cluster, keyspace } = movedTo;
  return new AtollError('KEYSPACE_MOVED', `keyspace: ${name} was moved to keyspace ${keyspace} of cluster ${cluster}: write there`, { metadata: { field: 'keyspace', keyspace: name, moved_to_cluster: cluster, moved_to_keyspace: keyspace } });
}

/** Whoever leads, this one does not answer it now. */
const isRefusal = (error: unknown): boolean => error instanceof AtollError && (error.reason === 'NOT_LEADER' || error.reason === 'PARTITION_UNAVAILABLE');

function readAnswer({ keyspace, hosted }: Target, entry: StoredEntry | undefined, now: Moment): GetResponse {
  const session = hosted.appliedSession();
  if (entry === undefined || isExpired(entry.expiresAtMs, hosted.replica.state.clock.read(now.monotonicMs))) {
    keyspace.misses += 1;
    return { found: false, value: EMPTY, version: EMPTY, expiresAtMs: 0, session };
  }
  keyspace.hits += 1;
  return { found: true, value: entry.value, version: encodeVersion(entry.version), expiresAtMs: entry.expiresAtMs, session };
}

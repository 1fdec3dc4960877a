// The leader's half of a partition: it turns requests into log entries and commits what every replica that counts has
// appended. How followers read the log stands in log-feed.ts, who counts in in-sync-keeper.ts.
//
//   write -> evaluate against the newest appended state (R18) -> append with the next seq -> followers read it
//   ack   -> commit = the least appended seq of all required replicas (I2) -> apply in order -> answer
import { hasReplica, isLastingFreeze, isStandbyFence, type Member, type VersionedRecord } from '@atoll/core-membership';
import { evaluateWrite, type CurrentEntry, type Evaluation, type StoredEntry, type WriteCommand } from '@atoll/core-store';
import { FenceTable, type Fence } from '@atoll/core-locks';
import { keyHash, type Hash64, type Random, type ReplicaId } from '@atoll/core-runtime';
import { BarrierHold, type BarrierAnswer, type BarrierRelease } from './archive/barrier-hold.ts';
import { CopiedResults } from './copy/copied-results.ts';
import { endOfCopy, resumptionOfCopy, type CopyPosition } from './copy/copy-position.ts';
import type { CopiedChange } from './copy/source-reader.ts';
import { FROZEN, KEPT, SEALED, WriteFreeze, type FreezeAnswer } from './copy/write-freeze.ts';
import type { FollowerProgress } from './follower-progress.ts';
import { HandOver, type HandOverOutcome } from './hand-over.ts';
import type { ChangeAttempt, RecordInForce } from './in-sync-change.ts';
import { InSyncKeeper, type ChangeOutcome } from './in-sync-keeper.ts';
import type { LogEntry, LogOperation, OpId } from './log-entry.ts';
import { LeaderLease } from './leader-lease.ts';
import { LogFeed, type FeedMessage } from './log-feed.ts';
import type { AckMessage, LogPosition, SubscribeAnswer, SubscribeMessage } from './messages.ts';
import type { LeaderHooks, Moment, ReplicaSettings, WriteRequest } from './replica-types.ts';
import { answerOf, earliestStampMs, opIdReused, resultForgotten } from './repeated-write.ts';
import type { WriteResult } from './result-table.ts';
import type { ReplicaState } from './replica-state.ts';
import { SeqQueue } from './seq-queue.ts';
import { WriteBrake } from './write-brake.ts';
import { EvictedState, PendingWrite, UncommittedStates, toKeyText, type FailedWrite, type UncommittedState, type WriteOutcome } from './uncommitted.ts';

const FIRST_HASH: Hash64 = { high: 0, low: 0 };

/** A new entry of the log, and what it takes there. */
interface Appended {
  readonly entry: LogEntry;
  readonly bytes: number;
}

/** A write into a store above its bound evicts at most this many times its own size, so that no one write pays for all. */
const EVICT_FACTOR_MAX = 16;

/** A read that must wait until `write` is settled. */
export interface WaitForCommit {
  readonly kind: 'wait';
  readonly write: PendingWrite;
  /** The answer: what the key holds at that commit. Writes that came after the read may commit in the same turn. */
  readonly entry: StoredEntry | undefined;
}

export type FencedRead = { readonly kind: 'read'; readonly entry: StoredEntry | undefined } | FailedWrite;

export class Leader {
  readonly epoch: number;
  readonly #state: ReplicaState;
  readonly #settings: ReplicaSettings;
  readonly #feed: LogFeed;
  readonly #keeper: InSyncKeeper;
  readonly #lease: LeaderLease;
  readonly #pending = new SeqQueue<PendingWrite>();
  readonly #uncommitted = new UncommittedStates();
  readonly #brake = new WriteBrake();
  readonly #officeEndSeq: number;
  #pendingBytes = 0;
  #reservedBytes = 0;
  /** What the log up to its end knows of fencing tokens; made with the first fence in this office. */
  #fences: FenceTable | undefined;
  /** The last entry with a fence: what rests on the table waits for it. */
  #lastFence: PendingWrite | undefined;
  /** A planned transfer that is under way (R29). */
  #handOver: HandOver | undefined;
  /** The revision that was named in giving up is no more the record's: the office may be taken up again at the next tick. */
  #isResuming = false;
  /** The copy that this partition was is over by an entry of this office (R37). */
  #hasEndedCopy = false;
  /** Of a copy: since when it knows what became of writes to its source (R21). */
  readonly #copiedResults = new CopiedResults();
  readonly #freeze = new WriteFreeze();
  /** The cut of a backup that is under way (R39). */
  #barrier: BarrierHold | undefined;
  #isClosing = false;
  /** Answers of etcd and of the disk may still come in: they must change nothing any more. */
  #hasLeft = false;
  #sweepFrom: Hash64 = FIRST_HASH;
  /** The last expiry record. */
  #sweptSeq = 0;

  /** Takes office: the whole log is to be committed, behind it the first entry of the new epoch (R27). */
  constructor(options: {
    state: ReplicaState;
    record: VersionedRecord;
    settings: ReplicaSettings;
    hooks: LeaderHooks;
    random: Random;
    now: Moment;
  }) {
    const { state, record, settings, hooks, random, now } = options;
    this.epoch = record.record.epoch;
    this.#state = state;
    this.#settings = settings;
    this.#feed = new LogFeed({ epoch: this.epoch, state, settings, hooks });
    this.#keeper = new InSyncKeeper({ record, state, feed: this.#feed, settings, hooks, random, nowMs: now.monotonicMs });
    this.#lease = new LeaderLease({ self: state.identity.self.replica, epoch: this.epoch, record: this.#keeper.record, hooks });
    // What was inherited may be younger than this clock: entries that are not applied yet, or came from the disk (R23).
    const { log, clock } = state;
    if (log.end.seq > log.base.seq) clock.follow(log.entryAt(log.end.seq).stampMs, now.monotonicMs);
    state.takeInResults();
    this.#append({ kind: 'office' }, now, undefined, []);
    this.#officeEndSeq = log.end.seq;
    this.#advanceCommit(now.monotonicMs);
  }

  /** Whether everything inherited is committed, so that requests may be served. */
  get isServing(): boolean {
    return this.#state.appliedSeq >= this.#officeEndSeq;
  }

  /** Whether every replica that counts has promised not to lead meanwhile, and nobody was given the office (R14, R29). */
  hasLease(nowMs: number): boolean {
    return this.#handOver?.isSilent !== true && this.#lease.isValid(nowMs);
  }

  get record(): RecordInForce {
    return this.#keeper.record;
  }

  get pendingCount(): number {
    return this.#pending.length;
  }

  /** Replicas of which a lease is needed, or will be: those that count, and learners before they do (R8). */
  *leaseMembers(): Iterable<Member> {
    const self = this.#state.identity.self.replica;
    for (const member of this.record.required()) if (member.replica !== self) yield member;
    for (const member of this.record.record.learners) if (!this.record.isRequired(member.replica)) yield member;
  }

  followers(): Iterable<FollowerProgress> {
    return this.#feed.followers();
  }

  follower(replica: ReplicaId): FollowerProgress | undefined {
    return this.#feed.get(replica);
  }

  /** How long the answer of a write is to be held back for the sake of replicas that are catching up, in ms, 0 to 500 (R33). */
  get answerPauseMs(): number {
    if (!this.#brake.isOn) return 0;
    return this.#brake.pauseMs({ bytes: this.#state.log.bytes, bytesMax: this.#settings.logBytesMax });
  }

  /** No new writes from now on; what was appended still commits. */
  close(): void {
    this.#isClosing = true;
  }

  // --- requests ---------------------------------------------------------------------------------------------------

  /** `done` is called once, perhaps before this returns. A plain failure means that the write got no seq (R20). */
  write(request: WriteRequest, now: Moment, done: (outcome: WriteOutcome) => void): void {
    if (this.#handOver !== undefined && !this.#isClosing) {
      const isHeld = this.#handOver.hold({ request, done });
      return isHeld ? undefined : done(failed('PARTITION_UNAVAILABLE', 'too many writes wait for a change of the leader'));
    }
    if (this.#barrier?.isOverdue(now.monotonicMs) === true) this.#endBarrier(OVERDUE, now);
    if (this.#barrier !== undefined) return this.#barrier.hold({ request, done }) ? undefined : done(failed('OVERLOADED', 'too many writes wait for the cut of a backup'));
    const refusal = this.#refusalOfWrites(now.monotonicMs);
    if (refusal === FROZEN || refusal === KEPT) return this.#refuseFrozen(refusal, request, now, done);
    if (refusal !== undefined) return done(refusal);
    if (this.#isCopy) return done(failed('KEYSPACE_COPYING', COPYING));
    const keyText = toKeyText(request.key);
    const uncommitted = this.#uncommitted.size === 0 ? undefined : this.#uncommitted.get(keyText, request.hash);
    const timeMs = this.#state.clock.lead(now.monotonicMs, now.wallMs);
    const repeatAgeMs = request.repeatAgeMs ?? 0;
    if (request.opId !== undefined) {
      const known = this.#state.results.find(request.opId);
      if (known !== undefined) return this.#answerAgain(known, request, done);
      if (repeatAgeMs > 0 && !this.#state.results.knowsSince(earliestStampMs(timeMs, repeatAgeMs))) return done(resultForgotten());
    }
    const stale = request.fence && this.#refusalOfFence(request.fence);
    if (stale !== undefined) return done(stale);
    const evaluation = this.#evaluate(request.command, request, uncommitted, timeMs);
    if (evaluation.kind === 'mutation') return this.#logWrite(request, keyText, evaluation, now, done);
    const outcome: WriteOutcome =
      evaluation.kind === 'noop'
        ? { kind: 'done', answer: evaluation.answer, version: 'current' in evaluation.answer ? evaluation.answer.current : undefined }
        : { kind: 'failed', reason: evaluation.reason, message: `the value of the key cannot be incremented: ${evaluation.reason}` };
    if (evaluation.kind === 'noop' && repeatAgeMs > 0 && request.opId !== undefined) return this.#logUnchanged(request, keyText, evaluation, now, done);
    if (request.fence !== undefined && outcome.kind === 'done') return this.#settleFence(request, request.fence, uncommitted?.write, now, (failure) => done(failure ?? outcome));
    // An answer that rests on an uncommitted write waits for its commit (R18).
    if (uncommitted === undefined) return done(outcome);
    uncommitted.write.onSettled((committed) => done(committed ? outcome : lostOffice()));
  }

  /**
   * What became of a write that was sent before is known here, and at the copy it is not (R37). That it is not in the log is
   * told with the cut-over: until that has ended, nothing gets into the log here, however late it arrives. The freeze of a
   * keyspace ends some day, and then what is still on its way is taken.
   */
  #refuseFrozen(refusal: FailedWrite, request: WriteRequest, now: Moment, done: (outcome: WriteOutcome) => void): void {
    const known = request.opId && this.#state.results.find(request.opId);
    if (known !== undefined) return this.#answerAgain(known, request, done);
    if (refusal === KEPT) return done(KEPT);
    const timeMs = this.#state.clock.lead(now.monotonicMs, now.wallMs);
    const isCertain = this.#state.results.knowsSince(earliestStampMs(timeMs, request.repeatAgeMs ?? 0));
    return done(isCertain ? { ...FROZEN, metadata: { not_applied_for: this.record.record.frozen! } } : FROZEN);
  }

  /** A write that was sent before: its answer stands (R21). What is not committed yet is waited for. */
  #answerAgain(result: WriteResult, request: WriteRequest, done: (outcome: WriteOutcome) => void): void {
    const answer = answerOf(result, request.command, this.#state.generation.counter);
    if (answer === undefined || result.keyHashLow !== request.hash.low) return done(opIdReused());
    const version = result.effect === 'unchanged' ? ('current' in answer ? answer.current : undefined) : this.#state.version(result);
    const outcome: WriteOutcome = { kind: 'done', answer, version };
    const write = this.#pending.find(result.seq, seqOfWrite);
    if (write === undefined || (request.ack === 'LEADER' && this.#state.appendedSeq >= result.seq)) return done(outcome);
    write.onSettled((committed) => done(committed ? outcome : inDoubt()));
  }

  /**
   * A repeat that changes nothing is logged all the same, so that its first sending changes nothing either:
   *
   *   1. a Set IF_ABSENT is sent and its connection stands still; it is sent again by another way
   *   2. the key is there: the repeat is told that it was not applied, and the key is deleted
   *   3. the first sending arrives, and would apply
   */
  #logUnchanged(request: WriteRequest, keyText: string, { answer }: Extract<Evaluation, { kind: 'noop' }>, now: Moment, done: (outcome: WriteOutcome) => void): void {
    const current = 'current' in answer ? answer.current : undefined;
    const appended = this.#append({ kind: 'unchanged', key: request.key, current }, now, request.opId, [], request.hash, request.fence);
    this.#awaitUnchanging(appended, { keyText, hash: request.hash }, now, (committed) => done(committed ? { kind: 'done', answer, version: current } : inDoubt()));
  }

  /** An entry that changes no key waits for its commit; `onSettled` may be told of it before this returns. */
  #awaitUnchanging({ entry, bytes }: Appended, { keyText, hash }: Pick<PendingWrite, 'keyText' | 'hash'>, now: Moment, onSettled: (committed: boolean) => void): void {
    const write = new PendingWrite({ entry, keyText, hash, version: this.#state.version(entry), mutation: undefined, bytes, reservedBytes: 0 });
    this.#pending.push(write);
    if (entry.fence !== undefined) this.#lastFence = write;
    this.#pendingBytes += bytes;
    write.onSettled(onSettled);
    if (this.record.record.inSync.length === 1) this.#advanceCommit(now.monotonicMs);
  }

  /**
   * A STRONG read under a lock: earlier holders are refused from then on. `done` is called once, perhaps before this
   * returns.
   *
   *   1. A holds a lock, reads, and pauses until its lease has ended
   *   2. B holds the lock, reads, and is about to write what it made of that
   *   3. A writes: without a trace of B's read it would be let in, and B would write over it (I9)
   */
  readUnder(fence: Fence, request: Pick<WriteRequest, 'key' | 'hash'>, now: Moment, done: (outcome: FencedRead) => void): void {
    if (this.#handOver !== undefined) return done(failed('PARTITION_UNAVAILABLE', 'the leader is handing over'));
    const refusal = this.#refusalOfWrites(now.monotonicMs) ?? (this.#isCopy ? failed('KEYSPACE_COPYING', COPYING) : this.#refusalOfFence(fence));
    if (refusal !== undefined) return done(refusal);
    const read = this.read(request.key, request.hash);
    const isUncommitted = read !== undefined && 'kind' in read;
    const found = isUncommitted ? read.entry : read;
    // A copy: the store may move its memory before the answer.
    const entry = found && { ...found, value: Buffer.from(found.value) };
    this.#settleFence(request, fence, isUncommitted ? read.write : undefined, now, (failure) => done(failure ?? { kind: 'read', entry }));
  }

  /** Its own log says so, whatever is known here of the keyspace: a leader whose view is old writes nothing beside the source (R37). */
  get #isCopy(): boolean {
    return this.#state.copies.isOpen && !this.#hasEndedCopy;
  }

  #refusalOfFence(fence: Fence): FailedWrite | undefined {
    this.#fences ??= FenceTable.decode(this.#state.fences.encode());
    const later = this.#fences.outdatedBy(fence);
    return later === undefined ? undefined : staleFence(fence, later);
  }

  /** What an entry has to carry of the fence: nothing when the log knows it. */
  #learnFence(fence: Fence): Fence | undefined {
    if (this.#fences?.isNews(fence) !== true) return undefined;
    this.#fences.observe(fence);
    return fence;
  }

  /** Lets what changes nothing wait until its fence is committed, and the write that it rests on. */
  #settleFence(
    { key, hash }: Pick<WriteRequest, 'key' | 'hash'>,
    fence: Fence,
    restsOn: PendingWrite | undefined,
    now: Moment,
    done: (failure: FailedWrite | undefined) => void,
  ): void {
    if (this.#fences?.isNews(fence) === true) {
      const appended = this.#append({ kind: 'fence' }, now, undefined, [], undefined, fence);
      return this.#awaitUnchanging(appended, { keyText: toKeyText(key), hash }, now, (committed) => done(committed ? undefined : lostOffice()));
    }
    const write = (restsOn?.seq ?? 0) > (this.#lastFence?.seq ?? 0) ? restsOn : this.#lastFence;
    if (write === undefined || write.seq <= this.#state.appliedSeq) return done(undefined);
    write.onSettled((committed) => done(committed ? undefined : lostOffice()));
  }

  /**
   * Why a STRONG read cannot be answered now, or undefined. To be asked in the same synchronous turn as `read`, with a
   * clock that was read after the request arrived (R16).
   */
  refusalOfReads(nowMs: number): FailedWrite | undefined {
    if (!this.isServing) return failed('PARTITION_UNAVAILABLE', 'the leader is taking office');
    const { frozen } = this.record.record;
    if (isStandbyFence(frozen) || this.#freeze.isSealed(frozen)) return SEALED;
    return this.hasLease(nowMs) ? undefined : failed('PARTITION_UNAVAILABLE', NO_LEASE);
  }

  /** The entry, or undefined, or the write to wait for (R19). A STRONG read asks `refusalOfReads` before. */
  read(key: Uint8Array, hash: Hash64): StoredEntry | undefined | WaitForCommit {
    if (this.#uncommitted.size > 0) {
      const uncommitted = this.#uncommitted.get(toKeyText(key), hash);
      if (uncommitted !== undefined) return { kind: 'wait', write: uncommitted.write, entry: toEntry(key, uncommitted) };
    }
    return this.#state.store.get(key, hash);
  }

  #refusalOfWrites(nowMs: number): FailedWrite | undefined {
    if (this.#isClosing) return failed('NOT_LEADER', 'the leader is handing over');
    if (!this.isServing) return failed('PARTITION_UNAVAILABLE', 'the leader is taking office');
    if (!this.hasLease(nowMs)) return failed('PARTITION_UNAVAILABLE', NO_LEASE);
    const { frozen } = this.record.record;
    if (frozen !== undefined) return isLastingFreeze(frozen) ? KEPT : FROZEN;
    if (!this.#keeper.hasQuorum) {
      return failed('NOT_ENOUGH_REPLICAS', `${this.record.smallestSet} of ${this.#settings.minInSync} replicas are in sync`);
    }
    if (this.#pendingBytes > this.#settings.uncommittedBytesMax) {
      return failed('OVERLOADED', `${this.#pendingBytes} bytes wait for their commit`);
    }
    if (this.#isLogFull(nowMs)) {
      return failed('OVERLOADED', `the log holds ${this.#state.log.bytes} bytes for replicas that are catching up`);
    }
    return undefined;
  }

  /** A leader that is alone gets no acknowledgement that would trim its log: a burst between two ticks is no overload. */
  #isLogFull(nowMs: number): boolean {
    const { log } = this.#state;
    const bytesMax = this.#settings.logBytesMax * 2;
    if (log.bytes > bytesMax) this.#trimLog(nowMs);
    return log.bytes > bytesMax;
  }

  #evaluate(command: WriteCommand, request: WriteRequest, uncommitted: UncommittedState | undefined, timeMs: number): Evaluation {
    if (command.kind === 'set' && command.condition === 'NONE') {
      return {
        kind: 'mutation',
        mutation: { kind: 'put', value: command.value, expiresAtMs: command.expiresAtMs },
        answer: { kind: 'set', applied: true, current: undefined },
      };
    }
    return evaluateWrite(command, this.#newest(request, uncommitted), timeMs);
  }

  #newest(request: Pick<WriteRequest, 'key' | 'hash'>, uncommitted: UncommittedState | undefined): CurrentEntry | undefined {
    if (uncommitted === undefined) return this.#state.store.peek(request.key, request.hash);
    if (uncommitted.value === undefined) return undefined;
    return { value: uncommitted.value, version: uncommitted.write.version, expiresAtMs: uncommitted.expiresAtMs };
  }

  #logWrite(
    request: Omit<WriteRequest, 'command'>,
    keyText: string,
    evaluation: Extract<Evaluation, { kind: 'mutation' }>,
    now: Moment,
    done: (outcome: WriteOutcome) => void,
  ): void {
    const { mutation, answer } = evaluation;
    const bytesAfter = mutation.kind === 'put' ? this.#state.store.bytesOf(request.key.length, mutation.value.length) : 0;
    const growth = bytesAfter - this.#bytesNow(request, this.#uncommitted.get(keyText, request.hash));
    const room = mutation.kind === 'put' ? this.#makeRoom(growth, keyText, request.evictsNothing === true) : NO_VICTIMS;
    if (room === undefined) return done(failed('MEMORY_EXHAUSTED', `no room for ${bytesAfter} bytes in keyspace ${this.#state.identity.keyspace}`));
    const evicted = room.keys;
    const reservedBytes = growth - room.bytes;
    for (const follower of this.#feed.followers()) follower.freeBytes -= reservedBytes;
    const operation: LogOperation =
      mutation.kind === 'put'
        ? { kind: 'put', key: request.key, value: mutation.value, expiresAtMs: mutation.expiresAtMs }
        : { kind: 'delete', key: request.key };
    const { entry, bytes } = this.#append(operation, now, request.opId, evicted, request.hash, request.fence);
    const version = this.#state.version(entry);
    const write = new PendingWrite({ entry, keyText, hash: request.hash, version, mutation, bytes, reservedBytes });
    this.#pending.push(write);
    if (entry.fence !== undefined) this.#lastFence = write;
    this.#pendingBytes += bytes;
    this.#reservedBytes += reservedBytes;
    this.#uncommitted.set(write);
    for (const key of evicted) this.#uncommitted.set(new EvictedState(key, write));
    const outcome: WriteOutcome = { kind: 'done', answer, version };
    if (request.ack === 'LEADER' && this.#state.appendedSeq >= version.seq) done(outcome);
    else write.onSettled((committed) => done(committed ? outcome : inDoubt()));
    // With other members it is their acknowledgements that move the commit position.
    if (this.record.record.inSync.length === 1) this.#advanceCommit(now.monotonicMs);
  }

  /**
   * Takes what a partition of the source had for this copy, in order, and behind it the place that it brings it to (R37).
   * Values must not change afterwards. `done` is called once, perhaps before this returns: with undefined when all of it is
   * committed. After a failure some of it may be there; what comes again from the place before makes it whole. `run`: the copy
   * that it belongs to; what another one takes, by an older view, is refused. `hasResults`: changes out of the source's log have
   * the op ids of their writes.
   */
  copy(changes: readonly CopiedChange[], position: CopyPosition, now: Moment, done: (failure: FailedWrite | undefined) => void, { run = 0, hasResults = false }: { readonly run?: number; readonly hasResults?: boolean } = {}): void {
    const refusal = this.#handOver === undefined ? this.#refusalOfWrites(now.monotonicMs) : failed('PARTITION_UNAVAILABLE', 'the leader is handing over');
    if (refusal !== undefined) return done(refusal);
    if (this.#barrier !== undefined) return done(failed('PARTITION_UNAVAILABLE', HELD_FOR_CUT));
    if (this.#hasEndedCopy || this.#state.copies.isEnded) return done(failed('PARTITION_UNAVAILABLE', 'the copy has taken the place of its source'));
    if (this.#state.copies.run !== run) return done(failed('PARTITION_UNAVAILABLE', 'the partition is a copy of something else'));
    // Whoever reads here before this leader has heard of a cut-over sees nothing that had expired at the source by then (I7).
    this.#state.clock.follow(position.stampMs, now.monotonicMs);
    let failure: FailedWrite | undefined;
    const note = (outcome: WriteOutcome): void => {
      if (outcome.kind === 'failed') failure ??= outcome;
    };
    for (const { key, value, expiresAtMs, opId } of changes) {
      const hash = keyHash(key);
      const request = { key, hash, opId, ack: 'IN_SYNC' } as const;
      const keyText = toKeyText(key);
      // What was removed there may never have come here; that its write happened is worth an entry all the same.
      if (value === undefined && opId === undefined && this.#newest(request, this.#uncommitted.get(keyText, hash)) === undefined) continue;
      const mutation = value === undefined ? ({ kind: 'delete' } as const) : ({ kind: 'put', value, expiresAtMs } as const);
      this.#logWrite(request, keyText, { kind: 'mutation', mutation, answer: { kind: 'set', applied: true, current: undefined } }, now, note);
      if (failure !== undefined) return done(failure);
    }
    const appended = this.#append({ kind: 'copied', position }, now, undefined, []);
    this.#copiedResults.onBatch(position, appended.entry.stampMs, hasResults);
    this.#awaitUnchanging(appended, { keyText: '', hash: FIRST_HASH }, now, (committed) => done(committed ? undefined : lostOffice()));
  }

  /**
   * From now on it is the copy `run`, with all that it has, and clients write no more (R37). `run` is above that of every copy
   * before, and above the `fencesBelow` of each that ended. `done`: as of `copy`; at once where it is so already.
   */
  resumeCopy(run: number, now: Moment, done: (failure: FailedWrite | undefined) => void): void {
    const { copies, log } = this.#state;
    if (copies.run === run) return done(undefined);
    const refusal = this.#handOver === undefined ? this.#refusalOfWrites(now.monotonicMs) : failed('PARTITION_UNAVAILABLE', 'the leader is handing over');
    if (refusal !== undefined) return done(refusal);
    if (this.#barrier !== undefined) return done(failed('PARTITION_UNAVAILABLE', HELD_FOR_CUT));
    if (run <= copies.turnedAt) return done(failed('PARTITION_UNAVAILABLE', 'the copy is over'));
    const appended = this.#append({ kind: 'copied', position: resumptionOfCopy(run, log.end.seq) }, now, undefined, []);
    this.#hasEndedCopy = false;
    this.#awaitUnchanging(appended, { keyText: '', hash: FIRST_HASH }, now, (committed) => done(committed ? undefined : lostOffice()));
  }

  /**
   * From now on nothing is taken from a source any more, and clients write: to be called before the first of them (R37). It
   * is an entry of the log, ahead of theirs:
   *
   *   1. the copy takes the source's place, and its leader A takes a write
   *   2. A dies; B, which has not heard of that, follows the source from the last place in the log
   *   3. the older value of the source would come again, over the write
   *
   * Fencing tokens below `fencesBelow` count as outdated: which of them are, the source alone knew. The time is not before
   * `timeMs`, that of the source when it was last read: what had expired there stays so (I7). Does nothing where the copy is
   * over, and where writes are refused.
   */
  endCopy({ fencesBelow, timeMs }: { readonly fencesBelow: number; readonly timeMs: number }, now: Moment): void {
    const { copies } = this.#state;
    // One of an older view: it has become a copy again since.
    if (fencesBelow <= copies.turnedAt) return;
    if (this.#hasEndedCopy || copies.isEnded || this.#handOver !== undefined || this.#refusalOfWrites(now.monotonicMs) !== undefined) return;
    this.#hasEndedCopy = true;
    const { clock } = this.#state;
    const beforeMs = clock.lead(now.monotonicMs, now.wallMs);
    clock.follow(timeMs, now.monotonicMs);
    const resultsSinceMs = this.#copiedResults.sinceMs(copies, clock.read(now.monotonicMs) - beforeMs);
    this.#append({ kind: 'copied', position: endOfCopy(fencesBelow, resultsSinceMs) }, now, undefined, []);
    this.#fences?.raiseFloor(fencesBelow);
    this.#advanceCommit(now.monotonicMs);
  }

  /**
   * Whether all that was ever acknowledged here is committed and nothing more is written, since the record names `cutOver`
   * (R37). With `isSealing` nothing is read here any more, either. To be asked again until it is confirmed.
   */
  confirmFreeze(cutOver: string, isSealing: boolean, now: Moment): FreezeAnswer {
    const notYet = (problem: string): FreezeAnswer => ({ kind: 'not-yet', problem });
    if (this.#hasLeft || this.#handOver !== undefined) return notYet('the leader leaves its office');
    if (this.record.record.frozen !== cutOver) return notYet('the leader has not heard of it');
    const refusal = this.#refusalOfWrites(now.monotonicMs);
    if (refusal !== FROZEN && refusal !== KEPT) return notYet(refusal?.message ?? 'writes are taken');
    const position = this.#freeze.barrier(cutOver, () => {
      const { entry } = this.#append({ kind: 'marker' }, now, undefined, []);
      return { epoch: entry.epoch, seq: entry.seq };
    });
    this.#advanceCommit(now.monotonicMs);
    if (this.#state.appliedSeq < position.seq) return notYet('the barrier is not committed');
    if (isSealing) this.#freeze.seal(cutOver);
    return { kind: 'confirmed', position };
  }

  /** What the key will cost when every write under way is applied. */
  #bytesNow(request: Pick<WriteRequest, 'key' | 'hash'>, uncommitted: UncommittedState | undefined): number {
    const { store } = this.#state;
    if (uncommitted === undefined) return store.peekState(request.key, request.hash)?.bytes ?? 0;
    return uncommitted.value === undefined ? 0 : store.bytesOf(request.key.length, uncommitted.value.length);
  }

  /** The keys to evict so that the tightest required member can take `growth` more; undefined when that cannot be (R22). */
  #makeRoom(growth: number, own: string, evictsNothing: boolean): { readonly keys: readonly Uint8Array[]; readonly bytes: number } | undefined {
    let freeBytes = this.#settings.freeBytes() - this.#reservedBytes;
    for (const follower of this.#feed.followers()) {
      if (this.record.isRequired(follower.member.replica)) freeBytes = Math.min(freeBytes, follower.freeBytes);
    }
    if (growth <= 0 || growth <= freeBytes) return NO_VICTIMS;
    if (this.#settings.eviction === 'NONE' || evictsNothing) return undefined;
    const { store } = this.#state;
    const keys = store.pickVictims(Math.min(growth - freeBytes, growth * EVICT_FACTOR_MAX), (key) => {
      const text = toKeyText(key);
      return text === own || this.#uncommitted.get(text, keyHash(key)) !== undefined;
    });
    const bytes = keys.reduce((sum, key) => sum + (store.peekState(key, keyHash(key))?.bytes ?? 0), 0);
    // A write never makes a full store fuller.
    return bytes < Math.min(growth, growth - freeBytes) ? undefined : { keys, bytes };
  }

  #append(
    operation: LogOperation,
    now: Moment,
    opId: OpId | undefined,
    evicted: readonly Uint8Array[],
    hash?: Hash64,
    proof?: Fence,
  ): Appended {
    const { log, clock } = this.#state;
    const endBefore = log.end.seq;
    const entry: LogEntry = {
      epoch: this.epoch,
      seq: endBefore + 1,
      stampMs: Math.floor(clock.lead(now.monotonicMs, now.wallMs)),
      opId,
      evicted,
      operation,
      fence: proof && this.#learnFence(proof),
    };
    const bytes = this.#state.append(entry, hash);
    this.#feed.onAppended(endBefore, now.monotonicMs);
    return { entry, bytes };
  }

  // --- replication ------------------------------------------------------------------------------------------------

  subscribe(message: SubscribeMessage, member: Member, nowMs: number): SubscribeAnswer {
    const refuse = (reason: string): SubscribeAnswer => ({ kind: 'refusal', message: { channel: message.channel, reason, epoch: this.epoch } });
    if (this.#hasLeft) return refuse('NOT_LEADER');
    if (message.epoch > this.epoch) return refuse('STALE_EPOCH');
    const { learners, leaving } = this.record.record;
    if (!hasReplica([...this.record.required(), ...learners, ...leaving], member.replica)) return refuse('REPLICA_UNKNOWN');
    const answer = this.#feed.subscribe(message, member, { isRequired: this.record.isRequired(member.replica), nowMs });
    this.#advanceCommit(nowMs);
    return answer;
  }

  /** The stream to this follower is gone. */
  unlink(replica: ReplicaId, nowMs: number): void {
    this.#feed.unlink(replica, nowMs);
  }

  /** What to send next, at most about `bytesMax`; undefined when there is nothing. Valid until the log is next changed. */
  nextMessage(progress: FollowerProgress, bytesMax: number, nowMs: number): FeedMessage | undefined {
    return this.#feed.nextMessage(progress, bytesMax, nowMs);
  }

  onAck(ack: AckMessage, replica: ReplicaId, nowMs: number): void {
    const progress = this.#feed.get(replica);
    if (progress === undefined || ack.channel !== progress.channel || ack.epoch !== this.epoch) return;
    const hasMoved = progress.onAck(ack, nowMs);
    this.#keeper.measure(progress, nowMs);
    if (!hasMoved) return;
    this.#advanceCommit(nowMs);
    this.#trimLog(nowMs);
    if (!this.record.isRequired(replica) && this.#handOver === undefined) this.#keeper.plan(nowMs);
  }

  /** The leader's own disk has the log up to `seq`. */
  onDurable(nowMs: number): void {
    this.#advanceCommit(nowMs);
  }

  /** The coordinator's answer to `LeaderHooks.askRemoval` (R10). */
  onRemovalAnswer(replica: ReplicaId, mayRemove: boolean, nowMs: number): void {
    if (!this.#hasLeft) this.#keeper.onRemovalAnswer(replica, mayRemove, nowMs);
  }

  /** Leases that were held are void: the clock may have stood still (R17). */
  onLeasesDropped(nowMs: number): void {
    this.#keeper.onLeasesDropped(nowMs);
    this.#lease.forget();
  }

  /** Leases were granted: commits that waited for one go on. */
  onLeaseChanged(nowMs: number): void {
    this.#lease.forget();
    this.#advanceCommit(nowMs);
    this.#advanceHandOver(nowMs);
  }

  /**
   * Commits what every required replica has appended (I2), nothing while the set is too small (R9), and nothing
   * without a lease from each of them (R16).
   */
  #advanceCommit(nowMs: number): void {
    if (this.#hasLeft || !this.#keeper.hasQuorum) return;
    const seq = this.#keeper.agreedSeq();
    if (seq <= this.#state.appliedSeq || !this.hasLease(nowMs)) return;
    const settled: PendingWrite[] = [];
    while (this.#state.appliedSeq < seq) {
      const next = this.#state.appliedSeq + 1;
      const write = this.#pending.peek();
      if (write?.seq !== next) {
        this.#state.applyNext(this.#state.log.entryAt(next), nowMs);
        continue;
      }
      // Its own write is at hand: no need to decode what was encoded a moment ago.
      this.#state.applyNext(write.entry, nowMs, write.hash);
      this.#pending.shift();
      this.#pendingBytes -= write.bytes;
      this.#reservedBytes -= write.reservedBytes;
      this.#uncommitted.settle(write.keyText, write.hash, write);
      for (const key of write.evicted) this.#uncommitted.settle(toKeyText(key), keyHash(key), write);
      settled.push(write);
    }
    this.#state.finishApply();
    this.#feed.onCommitted();
    for (const write of settled) write.settle(true);
    this.#barrier?.onApplied(this.#state.appliedSeq);
    if (this.#handOver !== undefined) this.#advanceHandOver(nowMs);
  }

  /** Whether a member that is away or behind could still go on from this log: it is worth keeping (R33). */
  isLogNeeded(nowMs: number): boolean {
    const { inSync, learners, eligible } = this.record.record;
    return this.#feed.isNeeded([...inSync, ...learners, ...eligible], nowMs);
  }

  #trimLog(nowMs: number): void {
    this.#feed.trim((replica) => this.record.isRequired(replica), nowMs);
  }

  // --- records and time -------------------------------------------------------------------------------------------

  /** A record read from etcd, or seen by the watch. The caller has checked that this replica still leads its epoch. */
  onRecord(versioned: VersionedRecord, nowMs: number): void {
    if (!this.#keeper.onRecord(versioned)) return;
    this.#onOtherRecord();
    const { inSync, learners, leaving, eligible } = versioned.record;
    this.#feed.keepOnly([...inSync, ...learners, ...leaving, ...eligible], nowMs);
    this.#advanceCommit(nowMs);
  }

  onChangeOutcome(attempt: ChangeAttempt, outcome: ChangeOutcome, nowMs: number): void {
    if (this.#hasLeft || !this.#keeper.onChangeOutcome(attempt, outcome, nowMs)) return;
    this.#onOtherRecord();
    this.#advanceCommit(nowMs);
  }

  tick(now: Moment): void {
    if (this.#hasLeft) return;
    const nowMs = now.monotonicMs;
    this.#state.clock.lead(nowMs, now.wallMs);
    this.#tickHandOver(now);
    if (this.#barrier?.isOverdue(nowMs) === true) this.#endBarrier(OVERDUE, now);
    if (this.#handOver !== undefined) return;
    if (this.#keeper.tick(nowMs)) this.#advanceCommit(nowMs);
    this.#sweepExpired(now);
    this.#trimLog(nowMs);
    this.#brake.look(this.#keeper.slowestLearner(), nowMs);
  }

  // --- planned transfer (R29) -------------------------------------------------------------------------------------

  /**
   * Gives the office up to `target`, an in-sync follower, within `holdMs`, or keeps it. `done` is called once. After
   * `given-up` the leader is silent until a record names the successor, or, another `holdMs` later, takes it back.
   */
  handOver(options: { target: ReplicaId; holdMs: number }, now: Moment, done: (outcome: HandOverOutcome) => void): void {
    const { target, holdMs } = options;
    const nowMs = now.monotonicMs;
    const problem = this.#refusalOfTransfer(target, nowMs);
    if (problem !== undefined) return done({ kind: 'kept', problem });
    this.#handOver = new HandOver({ target, holdMs, nowMs, done });
    this.#advanceHandOver(nowMs);
  }

  /** Writes wait until the office is settled. */
  get isHandingOver(): boolean {
    return this.#handOver !== undefined;
  }

  #refusalOfTransfer(target: ReplicaId, nowMs: number): string | undefined {
    if (this.#hasLeft || this.#isClosing) return 'the leader has left its office';
    if (this.#handOver !== undefined) return 'another transfer is under way';
    if (this.#barrier !== undefined) return HELD_FOR_CUT;
    if (target === this.#state.identity.self.replica) return 'the target leads already';
    if (!hasReplica(this.record.record.inSync, target)) return 'the target is not in sync';
    const refusal = this.#refusalOfWrites(nowMs);
    return refusal === KEPT ? undefined : refusal?.message;
  }

  /** Gives up once everything is committed and the target has it, and no change of the record is under way. */
  #advanceHandOver(nowMs: number): void {
    const handOver = this.#handOver;
    if (handOver === undefined || handOver.isSilent || this.#isResuming || this.record.isChanging || !this.hasLease(nowMs)) return;
    const { log, appliedSeq } = this.#state;
    const target = this.#feed.get(handOver.target);
    if (appliedSeq < log.end.seq || target === undefined || target.matchSeq < log.end.seq) return;
    handOver.giveUp({ modRevision: this.record.current.modRevision, end: log.end, nowMs });
  }

  #tickHandOver(now: Moment): void {
    const handOver = this.#handOver;
    if (handOver === undefined) return;
    if (this.#isResuming) return this.#resume('the record changed', now);
    if (handOver.isOverdue(now.monotonicMs)) return this.#resume('the log was not committed in time', now);
    if (handOver.startReclaiming(now.monotonicMs) || handOver.isReclaiming) this.#keeper.rewrite(now.monotonicMs);
    else this.#advanceHandOver(now.monotonicMs);
  }

  /**
   * The record is another one, and this leader is still named by it: nothing that compares the old revision succeeds. The
   * target may have left the set by a change that was under way.
   */
  #onOtherRecord(): void {
    const handOver = this.#handOver;
    if (handOver !== undefined && (handOver.isSilent || !hasReplica(this.record.record.inSync, handOver.target))) this.#isResuming = true;
  }

  /** Writes that were held get their turn, in their order. */
  #resume(problem: string, now: Moment): void {
    const handOver = this.#handOver;
    this.#handOver = undefined;
    this.#isResuming = false;
    handOver?.keep(problem);
    for (const { request, done } of handOver?.takeHeld() ?? []) this.write(request, now, done);
    this.#advanceCommit(now.monotonicMs);
  }

  // --- markers ----------------------------------------------------------------------------------------------------

  /** Puts a marker into the log: each replica keeps its digests when it applies it, `ReplicaState.marks` (R34). */
  putMarker(now: Moment): { readonly kind: 'marked'; readonly position: LogPosition } | Extract<WriteOutcome, { kind: 'failed' }> {
    const refusal = this.#refusalOfWrites(now.monotonicMs);
    if (refusal !== undefined && refusal !== KEPT) return refusal;
    const { entry } = this.#append({ kind: 'marker' }, now, undefined, []);
    this.#advanceCommit(now.monotonicMs);
    return { kind: 'marked', position: { epoch: entry.epoch, seq: entry.seq } };
  }

  // --- the cut of a backup (R39) -----------------------------------------------------------------------------------

  /**
   * Puts a marker into the log and lets writes wait behind it, before they get a seq, for at most `holdMs`. `done` is called once,
   * perhaps before this returns: when the marker is committed, or the hold is over before that.
   */
  holdBarrier({ id, holdMs }: { readonly id: string; readonly holdMs: number }, now: Moment, done: (answer: BarrierAnswer) => void): void {
    const notHeld = (problem: string): void => done({ kind: 'not-held', problem });
    const nowMs = now.monotonicMs;
    if (this.#hasLeft || this.#handOver !== undefined) return notHeld('the leader leaves its office');
    if (this.#barrier?.isOverdue(nowMs) === true) this.#endBarrier(OVERDUE, now);
    if (this.#barrier !== undefined) return notHeld('the partition is held for another cut');
    const refusal = this.#refusalOfWrites(nowMs);
    if (refusal !== undefined && refusal !== KEPT) return notHeld(refusal.message);
    const barrier = new BarrierHold({ id, holdMs, nowMs, heldBytesMax: this.#settings.uncommittedBytesMax, done });
    this.#barrier = barrier;
    const { entry } = this.#append({ kind: 'marker' }, now, undefined, []);
    barrier.marked({ epoch: entry.epoch, seq: entry.seq }, entry.stampMs);
    this.#advanceCommit(nowMs);
  }

  /**
   * Ends the hold, and says whether it stood from its marker until now: nothing that a client wrote got a seq, here or at a later
   * leader, which the lease rules out at this very moment (R16). In one turn with that, writes are taken again.
   */
  releaseBarrier(id: string, now: Moment): BarrierRelease {
    if (this.#hasLeft) return { problem: 'the leader has left its office' };
    if (this.#barrier?.id !== id) return { problem: 'it is not held any more: writes have gone on' };
    const isCertain = this.#barrier.isCommitted && this.hasLease(now.monotonicMs);
    this.#endBarrier('it was released before its marker was committed', now);
    return { problem: isCertain ? undefined : 'the leader cannot say so: its marker is not committed, or it has no lease' };
  }

  #endBarrier(problem: string, now: Moment): void {
    const barrier = this.#barrier;
    this.#barrier = undefined;
    for (const { request, done } of barrier?.end(problem) ?? []) this.write(request, now, done);
  }

  // --- expiry -----------------------------------------------------------------------------------------------------

  /** Puts an expiry watermark into the log for the next stretch of the store that holds expired entries (R23). */
  #sweepExpired(now: Moment): void {
    if (this.#barrier !== undefined || this.#refusalOfWrites(now.monotonicMs) !== undefined) return;
    // One at a time: while nothing commits, what is expired stays in the store and would be logged with every tick.
    if (this.#state.appliedSeq < this.#sweptSeq) return;
    const watermarkMs = Math.floor(this.#state.clock.read(now.monotonicMs));
    const plan = this.#state.store.planExpiry(this.#sweepFrom, watermarkMs, this.#settings.expirySweep);
    if (plan.count > 0) {
      this.#append({ kind: 'expire', from: this.#sweepFrom, to: plan.to, watermarkMs }, now, undefined, []);
      this.#sweptSeq = this.#state.log.end.seq;
      this.#advanceCommit(now.monotonicMs);
    }
    this.#sweepFrom = plan.to ?? FIRST_HASH;
  }

  /** Leaves office. Every write that is not committed is in doubt: a successor may or may not have it. */
  leaveOffice(): void {
    this.#hasLeft = true;
    this.#isClosing = true;
    const handOver = this.#handOver;
    this.#handOver = undefined;
    const waiting = this.#barrier?.end('the leader has lost its office') ?? [];
    this.#barrier = undefined;
    const writes = this.#pending.drain();
    this.#state.results.truncate(this.#state.appliedSeq);
    this.#uncommitted.clear();
    this.#feed.clear();
    for (const write of writes) write.settle(false);
    handOver?.keep('the leader has lost its office');
    for (const { done } of [...waiting, ...(handOver?.takeHeld() ?? [])]) done(failed('NOT_LEADER', 'another replica leads now'));
  }
}

const COPYING = 'the partition is filled from its source and takes no other writes';
const HELD_FOR_CUT = 'the partition is held still for the cut of a backup';
const OVERDUE = 'it was not released in time';
const NO_LEASE = 'the leader has no lease from every replica in sync';

const seqOfWrite = ({ seq }: PendingWrite): number => seq;

const staleFence = (fence: Fence, later: number): FailedWrite => ({
  kind: 'failed',
  reason: 'STALE_FENCING_TOKEN',
  message: `the fencing token ${fence.token} is outdated: a later holder came with ${later}`,
});

const NO_VICTIMS = { keys: [], bytes: 0 } as const;

const failed = (reason: 'KEYSPACE_COPYING' | 'NOT_LEADER' | 'PARTITION_UNAVAILABLE' | 'NOT_ENOUGH_REPLICAS' | 'OVERLOADED' | 'MEMORY_EXHAUSTED', message: string): FailedWrite => ({
  kind: 'failed',
  reason,
  message,
});

function toEntry(key: Uint8Array, { value, write, expiresAtMs }: UncommittedState): StoredEntry | undefined {
  return value && { key, value: Buffer.from(value.buffer, value.byteOffset, value.byteLength), version: write.version, expiresAtMs };
}

const inDoubt = (): WriteOutcome => ({
  kind: 'failed',
  reason: 'WRITE_IN_DOUBT',
  message: 'the leader lost its office before the write was committed: it may or may not have happened',
});

/** For an answer that changed nothing but rested on a write whose fate is unknown: it may be asked again. */
const lostOffice = (): FailedWrite => failed('NOT_LEADER', 'the leader lost its office before the answer was certain');

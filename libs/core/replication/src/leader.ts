// The leader's half of a partition: it turns requests into log entries, commits what every required replica has
// appended, and keeps the in-sync set.
//
//   write -> evaluate against the newest appended state (R18) -> append with the next seq -> followers read it
//   ack   -> commit = the least appended seq of all required replicas (I2) -> apply in order -> answer
import { hasReplica, type Member, type VersionedRecord } from '@atoll/core-membership';
import { evaluateWrite, type CurrentEntry, type Evaluation, type StoredEntry, type WriteCommand } from '@atoll/core-store';
import { WIRE_PART_BYTES_MAX, keyHash, randomHex, type Hash64, type Random, type ReplicaId } from '@atoll/core-runtime';
import { FollowerProgress } from './follower-progress.ts';
import { RecordInForce, withInSync, withoutInSync, type ChangeAttempt } from './in-sync-change.ts';
import type { LogEntry, LogOperation, OpId } from './log-entry.ts';
import type { AckMessage, AppendMessage, AppendPartMessage, SubscribeAnswer, SubscribeMessage } from './messages.ts';
import type { LeaderHooks, Moment, ReplicaSettings, WriteRequest } from './replica-types.ts';
import type { ReplicaState } from './replica-state.ts';
import { SeqQueue } from './seq-queue.ts';
import { PendingWrite, UncommittedStates, toKeyText, type UncommittedState, type WriteOutcome } from './uncommitted.ts';

const FIRST_HASH: Hash64 = { high: 0, low: 0 };

/** A write into a store above its bound evicts at most this many times its own size, so that no one write pays for all. */
const EVICT_FACTOR_MAX = 16;

/** A read that must wait until `write` is settled. */
export interface WaitForCommit {
  readonly kind: 'wait';
  readonly write: PendingWrite;
}

export class Leader {
  readonly epoch: number;
  readonly #state: ReplicaState;
  readonly #settings: ReplicaSettings;
  readonly #hooks: LeaderHooks;
  readonly #random: Random;
  readonly #record: RecordInForce;
  readonly #followers = new Map<ReplicaId, FollowerProgress>();
  /** Links that were lost: since when, or since which last progress, the follower has been missed. */
  readonly #lost = new Map<ReplicaId, { readonly atMs: number; readonly wasLagging: boolean }>();
  /** Replicas that this leader removed for being slow: they return only after a time without lag (R24). */
  readonly #removed = new Set<ReplicaId>();
  readonly #pending = new SeqQueue<PendingWrite>();
  readonly #uncommitted = new UncommittedStates();
  readonly #officeEndSeq: number;
  readonly #sinceMs: number;
  #pendingBytes = 0;
  #reservedBytes = 0;
  #isClosing = false;
  /** Answers of etcd and of the disk may still come in: they must change nothing any more. */
  #hasLeft = false;
  /** A compare-and-swap is on its way and unanswered. */
  #inFlight: ChangeAttempt | undefined;
  /** Next time that a change may be tried after a failure. */
  #nextChangeMs = 0;
  #sweepFrom: Hash64 = FIRST_HASH;
  /** The last expiry record. */
  #sweptSeq = 0;
  /** A learner that has nearly everything: commits wait for it until it has all of it and its change is sent (R8). */
  #joining: { readonly progress: FollowerProgress; readonly sinceMs: number } | undefined;

  /** Takes office: the whole log is to be committed, behind it the first entry of the new epoch (R27). */
  constructor(options: {
    state: ReplicaState;
    record: VersionedRecord;
    settings: ReplicaSettings;
    hooks: LeaderHooks;
    random: Random;
    now: Moment;
  }) {
    this.#state = options.state;
    this.#settings = options.settings;
    this.#hooks = options.hooks;
    this.#random = options.random;
    this.#record = new RecordInForce(options.record);
    this.epoch = options.record.record.epoch;
    this.#sinceMs = options.now.monotonicMs;
    // What was inherited may be younger than this clock: entries that are not applied yet, or came from the disk (R23).
    const { log, clock } = this.#state;
    if (log.end.seq > log.base.seq) clock.follow(log.entryAt(log.end.seq).stampMs, this.#sinceMs);
    this.#append({ kind: 'office' }, options.now, undefined, []);
    this.#officeEndSeq = this.#state.log.end.seq;
    this.#advanceCommit(options.now.monotonicMs);
  }

  /** Whether everything inherited is committed, so that requests may be served. */
  get isServing(): boolean {
    return this.#state.appliedSeq >= this.#officeEndSeq;
  }

  get record(): RecordInForce {
    return this.#record;
  }

  get pendingCount(): number {
    return this.#pending.length;
  }

  followers(): Iterable<FollowerProgress> {
    return this.#followers.values();
  }

  follower(replica: ReplicaId): FollowerProgress | undefined {
    return this.#followers.get(replica);
  }

  /** No new writes from now on; what was appended still commits. */
  close(): void {
    this.#isClosing = true;
  }

  // --- requests ---------------------------------------------------------------------------------------------------

  /** `done` is called once, perhaps before this returns. A plain failure means that the write got no seq (R20). */
  write(request: WriteRequest, now: Moment, done: (outcome: WriteOutcome) => void): void {
    const refusal = this.#refusalOfWrites();
    if (refusal !== undefined) return done(refusal);
    const keyText = toKeyText(request.key);
    const uncommitted = this.#uncommitted.size === 0 ? undefined : this.#uncommitted.get(keyText);
    const timeMs = this.#state.clock.lead(now.monotonicMs, now.wallMs);
    const evaluation = this.#evaluate(request.command, request, uncommitted, timeMs);
    if (evaluation.kind === 'mutation') return this.#logWrite(request, keyText, evaluation, now, done);
    const outcome: WriteOutcome =
      evaluation.kind === 'noop'
        ? { kind: 'done', answer: evaluation.answer, version: 'current' in evaluation.answer ? evaluation.answer.current : undefined }
        : { kind: 'failed', reason: evaluation.reason, message: `the value of the key cannot be incremented: ${evaluation.reason}` };
    // An answer that rests on an uncommitted write waits for its commit (R18).
    if (uncommitted === undefined) return done(outcome);
    uncommitted.write.onSettled((committed) => done(committed ? outcome : lostOffice()));
  }

  /** A STRONG read: the entry, or undefined, or the write to wait for (R19). */
  read(key: Uint8Array, hash: Hash64): StoredEntry | undefined | WaitForCommit {
    if (this.#uncommitted.size > 0) {
      const uncommitted = this.#uncommitted.get(toKeyText(key));
      if (uncommitted !== undefined) return { kind: 'wait', write: uncommitted.write };
    }
    return this.#state.store.get(key, hash);
  }

  #refusalOfWrites(): WriteOutcome | undefined {
    const { record } = this.#record;
    if (this.#isClosing) return failed('NOT_LEADER', 'the leader is handing over');
    if (!this.isServing) return failed('PARTITION_UNAVAILABLE', 'the leader is taking office');
    if (this.#record.smallestSet < this.#settings.minInSync) {
      return failed('NOT_ENOUGH_REPLICAS', `${record.inSync.length} of ${this.#settings.minInSync} replicas are in sync`);
    }
    if (this.#pendingBytes > this.#settings.uncommittedBytesMax) {
      return failed('OVERLOADED', `${this.#pendingBytes} bytes wait for their commit`);
    }
    if (this.#state.log.bytes > this.#settings.logBytesMax * 2) {
      return failed('OVERLOADED', `the log holds ${this.#state.log.bytes} bytes for replicas that are catching up`);
    }
    return undefined;
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

  #newest(request: WriteRequest, uncommitted: UncommittedState | undefined): CurrentEntry | undefined {
    if (uncommitted === undefined) return this.#state.store.peek(request.key, request.hash);
    if (uncommitted.value === undefined) return undefined;
    return { value: uncommitted.value, version: uncommitted.write.version, expiresAtMs: uncommitted.expiresAtMs };
  }

  #logWrite(
    request: WriteRequest,
    keyText: string,
    evaluation: Extract<Evaluation, { kind: 'mutation' }>,
    now: Moment,
    done: (outcome: WriteOutcome) => void,
  ): void {
    const { mutation, answer } = evaluation;
    const bytesAfter = mutation.kind === 'put' ? this.#state.store.bytesOf(request.key.length, mutation.value.length) : 0;
    const growth = bytesAfter - this.#bytesNow(request, this.#uncommitted.get(keyText));
    const room = mutation.kind === 'put' ? this.#makeRoom(growth, keyText) : NO_VICTIMS;
    if (room === undefined) return done(failed('MEMORY_EXHAUSTED', `no room for ${bytesAfter} bytes in keyspace ${this.#state.identity.keyspace}`));
    const evicted = room.keys;
    const reservedBytes = growth - room.bytes;
    for (const follower of this.#followers.values()) follower.freeBytes -= reservedBytes;
    const operation: LogOperation =
      mutation.kind === 'put'
        ? { kind: 'put', key: request.key, value: mutation.value, expiresAtMs: mutation.expiresAtMs }
        : { kind: 'delete', key: request.key };
    const { entry, bytes } = this.#append(operation, now, request.opId, evicted);
    const version = this.#state.version(entry);
    const write = new PendingWrite({ entry, keyText, hash: request.hash, version, mutation, bytes, reservedBytes });
    this.#pending.push(write);
    this.#pendingBytes += bytes;
    this.#reservedBytes += reservedBytes;
    this.#uncommitted.set(keyText, write);
    for (const key of evicted) this.#uncommitted.set(toKeyText(key), { write, value: undefined, expiresAtMs: 0 });
    const outcome: WriteOutcome = { kind: 'done', answer, version };
    if (request.ack === 'LEADER' && this.#state.appendedSeq >= version.seq) done(outcome);
    else write.onSettled((committed) => done(committed ? outcome : inDoubt()));
    this.#advanceCommit(now.monotonicMs);
  }

  /** What the key will cost when every write under way is applied. */
  #bytesNow(request: WriteRequest, uncommitted: UncommittedState | undefined): number {
    const { store } = this.#state;
    if (uncommitted === undefined) return store.peekState(request.key, request.hash)?.bytes ?? 0;
    return uncommitted.value === undefined ? 0 : store.bytesOf(request.key.length, uncommitted.value.length);
  }

  /** The keys to evict so that the tightest required member can take `growth` more; undefined when that cannot be (R22). */
  #makeRoom(growth: number, own: string): { readonly keys: readonly Uint8Array[]; readonly bytes: number } | undefined {
    let freeBytes = this.#settings.freeBytes() - this.#reservedBytes;
    for (const follower of this.#followers.values()) {
      if (this.#record.isRequired(follower.member.replica)) freeBytes = Math.min(freeBytes, follower.freeBytes);
    }
    if (growth <= 0 || growth <= freeBytes) return NO_VICTIMS;
    if (this.#settings.eviction === 'NONE') return undefined;
    const { store } = this.#state;
    const keys = store.pickVictims(Math.min(growth - freeBytes, growth * EVICT_FACTOR_MAX), (key) => {
      const text = toKeyText(key);
      return text === own || this.#uncommitted.get(text) !== undefined;
    });
    const bytes = keys.reduce((sum, key) => sum + (store.peekState(key, keyHash(key))?.bytes ?? 0), 0);
    // A write never makes a full store fuller.
    return bytes < Math.min(growth, growth - freeBytes) ? undefined : { keys, bytes };
  }

  #append(operation: LogOperation, now: Moment, opId: OpId | undefined, evicted: readonly Uint8Array[]): { readonly entry: LogEntry; readonly bytes: number } {
    const { log, clock } = this.#state;
    const endBefore = log.end.seq;
    const entry: LogEntry = {
      epoch: this.epoch,
      seq: endBefore + 1,
      stampMs: Math.floor(clock.lead(now.monotonicMs, now.wallMs)),
      opId,
      evicted,
      operation,
    };
    const bytes = this.#state.append(entry);
    for (const follower of this.#followers.values()) {
      if (follower.matchSeq === endBefore) follower.lastProgressMs = now.monotonicMs;
      this.#hooks.wake(follower);
    }
    return { entry, bytes };
  }

  // --- replication ------------------------------------------------------------------------------------------------

  subscribe(message: SubscribeMessage, member: Member, nowMs: number): SubscribeAnswer {
    const { channel } = message;
    const refuse = (reason: string): SubscribeAnswer => ({ kind: 'refusal', message: { channel, reason, epoch: this.epoch } });
    if (this.#hasLeft) return refuse('NOT_LEADER');
    if (message.epoch > this.epoch) return refuse('STALE_EPOCH');
    const { record } = this.#record;
    const named = [...this.#record.required(), ...record.learners, ...record.leaving];
    if (!hasReplica(named, member.replica)) return refuse('REPLICA_UNKNOWN');
    const { log } = this.#state;
    const { generation } = this.#state;
    const isSameLineage = message.generation.counter === generation.counter && message.generation.id === generation.id;
    const isReadable = message.end.seq >= log.base.seq;
    const isResuming = !message.installed && message.installLogSeq > 0;
    if (!isSameLineage || !(message.installed || isResuming) || !isReadable) return this.#orderInstall(message, member, nowMs);
    const known = log.epochEnd(message.end.epoch);
    if (known === undefined) return this.#orderInstall(message, member, nowMs);
    if (known.epoch !== message.end.epoch || known.seq < message.end.seq) {
      return { kind: 'divergence', message: { channel, epoch: this.epoch, end: known } };
    }
    this.#link(message, member, { endSeq: message.end.seq, installing: !message.installed, nowMs });
    return { kind: 'accepted' };
  }

  #orderInstall(message: SubscribeMessage, member: Member, nowMs: number): SubscribeAnswer {
    const logStart = this.#state.appliedPosition;
    this.#link(message, member, { endSeq: logStart.seq, installing: true, nowMs });
    return { kind: 'install', message: { channel: message.channel, epoch: this.epoch, generation: this.#state.generation, logStart } };
  }

  #link(message: SubscribeMessage, member: Member, options: { endSeq: number; installing: boolean; nowMs: number }): void {
    const progress = new FollowerProgress({ member, channel: message.channel, ...options });
    // To connect again is no progress (R24): a member that made none before has as little time left as before.
    const lost = this.#lost.get(member.replica);
    if (lost?.wasLagging === true && this.#record.isRequired(member.replica)) progress.lastProgressMs = lost.atMs;
    this.#followers.set(member.replica, progress);
    this.#hooks.wake(progress);
    this.#advanceCommit(options.nowMs);
  }

  /** The stream to this follower is gone. */
  unlink(replica: ReplicaId, nowMs: number): void {
    const progress = this.#followers.get(replica);
    if (progress === undefined) return;
    this.#followers.delete(replica);
    const wasLagging = progress.matchSeq < this.#state.log.end.seq;
    this.#lost.set(replica, { atMs: wasLagging ? progress.lastProgressMs : nowMs, wasLagging });
  }

  /** What to send next, at most about `bytesMax`; undefined when there is nothing. Valid until the log is next changed. */
  nextMessage(
    progress: FollowerProgress,
    bytesMax: number,
    nowMs: number,
  ): { readonly append: AppendMessage } | { readonly part: AppendPartMessage } | undefined {
    const { log } = this.#state;
    if (this.#followers.get(progress.member.replica) !== progress) return undefined;
    const common = { channel: progress.channel, epoch: this.epoch };
    if (progress.nextSeq > log.end.seq) {
      if (progress.commitSent === this.#state.appliedSeq) return undefined;
      return { append: this.#appendMessage(progress, { prev: log.end, count: 0, bytes: EMPTY }, nowMs) };
    }
    const run = log.run(progress.nextSeq, Math.min(bytesMax, WIRE_PART_BYTES_MAX));
    if (run.count === 1 && run.bytes.length > WIRE_PART_BYTES_MAX) {
      const offset = progress.partOffset;
      const data = run.bytes.subarray(offset, offset + WIRE_PART_BYTES_MAX);
      progress.partOffset += data.length;
      if (progress.partOffset === run.bytes.length) {
        progress.partOffset = 0;
        progress.nextSeq += 1;
      }
      return { part: { ...common, prev: run.prev, entryBytes: run.bytes.length, offset, data } };
    }
    progress.nextSeq += run.count;
    return { append: this.#appendMessage(progress, run, nowMs) };
  }

  #appendMessage(
    progress: FollowerProgress,
    run: { readonly prev: AppendMessage['prev']; readonly count: number; readonly bytes: Buffer },
    nowMs: number,
  ): AppendMessage {
    progress.commitSent = this.#state.appliedSeq;
    return {
      channel: progress.channel,
      epoch: this.epoch,
      prev: run.prev,
      count: run.count,
      entries: run.bytes,
      commitSeq: this.#state.appliedSeq,
      timeMs: this.#state.clock.read(nowMs),
    };
  }

  onAck(ack: AckMessage, replica: ReplicaId, nowMs: number): void {
    const progress = this.#followers.get(replica);
    if (progress === undefined || ack.channel !== progress.channel || ack.epoch !== this.epoch) return;
    const hasMoved = progress.onAck(ack, nowMs);
    progress.measureLag(this.#state.log.end.seq, nowMs, this.#lagMsMax);
    if (hasMoved) {
      this.#advanceCommit(nowMs);
      this.#trimLog(nowMs);
      if (!this.#record.isRequired(replica)) this.#planChange(nowMs);
    }
  }

  /** The leader's own disk has the log up to `seq`. */
  onDurable(nowMs: number): void {
    this.#advanceCommit(nowMs);
  }

  /** Commits what every required replica has appended (I2) and nothing while the set is too small (R9). */
  #advanceCommit(nowMs: number): void {
    if (this.#hasLeft || this.#record.smallestSet < this.#settings.minInSync) return;
    let seq = this.#state.appendedSeq;
    for (const member of this.#record.required()) {
      if (member.replica === this.#state.identity.self.replica) continue;
      const progress = this.#followers.get(member.replica);
      seq = Math.min(seq, progress === undefined || progress.installing ? 0 : progress.matchSeq);
    }
    if (this.#joining !== undefined) seq = Math.min(seq, this.#joining.progress.matchSeq);
    if (seq <= this.#state.appliedSeq) return;
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
      this.#uncommitted.settle(write.keyText, write);
      for (const key of write.evicted) this.#uncommitted.settle(toKeyText(key), write);
      settled.push(write);
    }
    this.#state.finishApply();
    for (const follower of this.#followers.values()) this.#hooks.commitMoved(follower);
    for (const write of settled) write.settle(true);
  }

  /**
   * What a linked follower still has to read stays in the log, and with it the start of an install's log (R33). One
   * that does not count and stands still is cut off instead: it comes back and catches up another way.
   */
  #trimLog(nowMs: number): void {
    const { log, appliedSeq } = this.#state;
    if (log.bytes <= this.#settings.logBytesMax) return;
    let seq = appliedSeq;
    for (const follower of this.#followers.values()) {
      const stands = follower.matchSeq < log.end.seq && nowMs - follower.lastProgressMs > this.#settings.followerAckTimeoutMs;
      if (stands && !this.#record.isRequired(follower.member.replica)) {
        this.unlink(follower.member.replica, nowMs);
        this.#hooks.cutOff(follower);
      } else {
        seq = Math.min(seq, follower.nextSeq - 1);
      }
    }
    log.trim(seq, this.#settings.logBytesMax);
  }

  // --- the in-sync set --------------------------------------------------------------------------------------------

  /** A record read from etcd, or seen by the watch. The caller has checked that this replica still leads its epoch. */
  onRecord(versioned: VersionedRecord, nowMs: number): void {
    const isNews = this.#record.adopt(versioned);
    // A read that shows the old revision settles nothing (R7), but a further attempt may be sent now.
    this.#inFlight = undefined;
    if (!isNews) return;
    const { record } = versioned;
    const named = [...record.inSync, ...record.learners, ...record.leaving, ...record.eligible];
    for (const follower of this.#followers.values()) {
      if (hasReplica(named, follower.member.replica)) continue;
      // A later record may name it again: it must know that it is not linked.
      this.unlink(follower.member.replica, nowMs);
      this.#hooks.cutOff(follower);
    }
    this.#advanceCommit(nowMs);
  }

  onChangeOutcome(attempt: ChangeAttempt, outcome: { kind: 'succeeded'; modRevision: number } | { kind: 'refused' | 'unknown' }, nowMs: number): void {
    if (this.#hasLeft) return;
    if (this.#inFlight === attempt) this.#inFlight = undefined;
    if (outcome.kind === 'succeeded') {
      this.#record.succeed(attempt, outcome.modRevision);
      this.#hooks.recordChanged(this.#record.current);
      this.#advanceCommit(nowMs);
      return;
    }
    this.#nextChangeMs = nowMs + this.#settings.changeRetryMs;
    this.#hooks.readRecord();
  }

  tick(now: Moment): void {
    if (this.#hasLeft) return;
    const nowMs = now.monotonicMs;
    this.#state.clock.lead(nowMs, now.wallMs);
    for (const follower of this.#followers.values()) {
      follower.measureLag(this.#state.log.end.seq, nowMs, this.#lagMsMax);
    }
    this.#checkJoining(nowMs);
    this.#planChange(nowMs);
    this.#sweepExpired(now);
    this.#trimLog(nowMs);
  }

  #planChange(nowMs: number): void {
    if (this.#inFlight !== undefined || nowMs < this.#nextChangeMs) return;
    const next = this.#nextRecord(nowMs);
    if (next === undefined) return;
    this.#inFlight = this.#record.begin(next);
    this.#joining = undefined;
    this.#hooks.requestChange(this.#inFlight);
  }

  #nextRecord(nowMs: number) {
    const { record } = this.#record;
    const options = { minInSync: this.#settings.minInSync, changeId: randomHex(this.#random, 8) };
    const self = this.#state.identity.self.replica;
    const silent = record.inSync.find((member) => member.replica !== self && this.#isSilent(member, nowMs));
    if (silent !== undefined) {
      this.#removed.add(silent.replica);
      return withoutInSync(record, silent, options);
    }
    const surplus = record.inSync.find((member) => member.replica !== self && hasReplica(record.leaving, member.replica));
    if (surplus !== undefined && record.inSync.length > Math.max(1, this.#settings.minInSync)) return withoutInSync(record, surplus, options);
    const ready = record.learners.find((member) => !hasReplica(record.leaving, member.replica) && this.#isReady(member, nowMs));
    if (ready !== undefined) {
      this.#removed.delete(ready.replica);
      return withInSync(record, ready, options);
    }
    // Nothing to change, but an attempt in doubt: settle it by writing the record as it is (R7).
    return this.#record.isChanging ? { ...record, changeId: options.changeId } : undefined;
  }

  #isSilent(member: Member, nowMs: number): boolean {
    const progress = this.#followers.get(member.replica);
    if (progress === undefined) {
      return nowMs - (this.#lost.get(member.replica)?.atMs ?? this.#sinceMs) > this.#settings.followerAckTimeoutMs;
    }
    if (progress.installing) return true;
    return progress.matchSeq < this.#state.log.end.seq && nowMs - progress.lastProgressMs > this.#settings.followerAckTimeoutMs;
  }

  /** R8: it has every committed entry; from the attempt on every later commit needs it. */
  #isReady(member: Member, nowMs: number): boolean {
    // A node whose process lost its data is back under a new replica id while the old one is still listed (R1).
    if (this.#record.record.inSync.some(({ node }) => node === member.node)) return false;
    const progress = this.#followers.get(member.replica);
    if (progress === undefined || progress.installing || progress.caughtUpSinceMs === undefined) return false;
    if (this.#removed.has(member.replica) && nowMs - progress.caughtUpSinceMs < this.#settings.rejoinAfterMs) return false;
    if (progress.matchSeq >= this.#state.appliedSeq) return true;
    // Under load there is always something on its way to it: commits wait for it until it has what is committed.
    this.#joining ??= { progress, sinceMs: nowMs };
    return false;
  }

  /** A learner that does not come to the commit position in time lets commits go on, and is tried again later. */
  #checkJoining(nowMs: number): void {
    const joining = this.#joining;
    if (joining === undefined) return;
    const { progress, sinceMs } = joining;
    const { replica } = progress.member;
    const isGone = this.#followers.get(replica) !== progress || progress.installing || !hasReplica(this.#record.record.learners, replica);
    const isLate = nowMs - sinceMs > this.#settings.followerAckTimeoutMs;
    if (!isGone && !isLate) return;
    if (isLate) {
      this.#removed.add(replica);
      progress.caughtUpSinceMs = undefined;
    }
    this.#joining = undefined;
    this.#advanceCommit(nowMs);
  }

  /** Lag up to which a learner keeps pace: well below the time that an in-sync follower may take. */
  get #lagMsMax(): number {
    return this.#settings.followerAckTimeoutMs / 2;
  }

  // --- expiry -----------------------------------------------------------------------------------------------------

  /** Puts an expiry watermark into the log for the next stretch of the store that holds expired entries (R23). */
  #sweepExpired(now: Moment): void {
    if (this.#refusalOfWrites() !== undefined) return;
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
    const writes = this.#pending.drain();
    this.#uncommitted.clear();
    this.#followers.clear();
    for (const write of writes) write.settle(false);
  }
}

const EMPTY = Buffer.alloc(0);
const NO_VICTIMS = { keys: [], bytes: 0 } as const;

const failed = (reason: 'NOT_LEADER' | 'PARTITION_UNAVAILABLE' | 'NOT_ENOUGH_REPLICAS' | 'OVERLOADED' | 'MEMORY_EXHAUSTED', message: string): WriteOutcome => ({
  kind: 'failed',
  reason,
  message,
});

const inDoubt = (): WriteOutcome => ({
  kind: 'failed',
  reason: 'WRITE_IN_DOUBT',
  message: 'the leader lost its office before the write was committed: it may or may not have happened',
});

/** For an answer that changed nothing but rested on a write whose fate is unknown: it may be asked again. */
const lostOffice = (): WriteOutcome => failed('NOT_LEADER', 'the leader lost its office before the answer was certain');

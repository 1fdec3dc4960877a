// Which replicas count, as the leader sees it: who has been silent for too long goes (R24), who keeps pace comes in
// (R8), who is to leave leaves. One compare-and-swap at a time, sent by the shell.
import { hasReplica, type Member, type PartitionRecord, type VersionedRecord } from '@atoll/core-membership';
import { randomHex, type Random, type ReplicaId } from '@atoll/core-runtime';
import type { FollowerProgress } from './follower-progress.ts';
import { RecordInForce, withInSync, withoutInSync, type ChangeAttempt } from './in-sync-change.ts';
import type { LogFeed } from './log-feed.ts';
import type { ReplicaState } from './replica-state.ts';
import type { LeaderHooks, ReplicaSettings } from './replica-types.ts';
import type { LaggingLearner } from './write-brake.ts';

export type ChangeOutcome = { readonly kind: 'succeeded'; readonly modRevision: number } | { readonly kind: 'refused' | 'unknown' };

export class InSyncKeeper {
  /** The record in force, and the attempts in doubt. */
  readonly record: RecordInForce;
  readonly #state: ReplicaState;
  readonly #feed: LogFeed;
  readonly #settings: ReplicaSettings;
  readonly #hooks: LeaderHooks;
  readonly #random: Random;
  readonly #sinceMs: number;
  /** Replicas that this leader removed for being slow: they return only after a time without lag (R24). */
  readonly #removed = new Set<ReplicaId>();
  /** Those of them that were in sync, and fell behind or silent. */
  readonly #expelled = new Set<ReplicaId>();
  /** A compare-and-swap is on its way and unanswered. */
  #inFlight: ChangeAttempt | undefined;
  /** Next time that a change may be tried after a failure. */
  #nextChangeMs = 0;
  /** A learner that has nearly everything: commits wait for it until it has all of it and its change is sent (R8). */
  #joining: { readonly progress: FollowerProgress; readonly sinceMs: number } | undefined;
  /** The last follower, of whose removal the coordinator was asked (R10). */
  #asked: { readonly replica: ReplicaId; readonly sinceMs: number; mayRemove: boolean } | undefined;
  readonly #epoch: number;
  #tickedMs: number;
  /** Since when this leader itself has run without a stop: before, it could not have heard a lease that was granted. */
  #awakeSinceMs: number;

  constructor(options: {
    record: VersionedRecord;
    state: ReplicaState;
    feed: LogFeed;
    settings: ReplicaSettings;
    hooks: LeaderHooks;
    random: Random;
    nowMs: number;
  }) {
    this.record = new RecordInForce(options.record);
    this.#epoch = options.record.record.epoch;
    this.#state = options.state;
    this.#feed = options.feed;
    this.#settings = options.settings;
    this.#hooks = options.hooks;
    this.#random = options.random;
    this.#sinceMs = options.nowMs;
    this.#tickedMs = options.nowMs;
    this.#awakeSinceMs = options.nowMs;
  }

  /**
   * Whether the smallest set that may be in force is large enough for commits (R9). After minInSync was lowered, who is
   * eligible has to be struck off first: raised again, it would be promoted without what was committed meanwhile.
   */
  get hasQuorum(): boolean {
    return this.record.smallestSet >= this.#settings.minInSync && !this.record.mayHaveEligible;
  }

  /** Last seq that every replica that counts, or is about to, has appended, this one's own included (I2). */
  agreedSeq(): number {
    let seq = this.#state.appendedSeq;
    for (const member of this.record.required()) {
      if (member.replica === this.#state.identity.self.replica) continue;
      const progress = this.#feed.get(member.replica);
      seq = Math.min(seq, progress === undefined || progress.installing ? 0 : progress.matchSeq);
    }
    return this.#joining === undefined ? seq : Math.min(seq, this.#joining.progress.matchSeq);
  }

  /** A record from the watch or a read. Returns whether it is news. */
  onRecord(versioned: VersionedRecord): boolean {
    // A read that shows the old revision settles nothing (R7), but a further attempt may be sent now.
    this.#inFlight = undefined;
    return this.record.adopt(versioned);
  }

  /** Returns whether the record changed. */
  onChangeOutcome(attempt: ChangeAttempt, outcome: ChangeOutcome, nowMs: number): boolean {
    if (this.#inFlight === attempt) this.#inFlight = undefined;
    if (outcome.kind === 'succeeded') {
      this.record.succeed(attempt, outcome.modRevision);
      this.#hooks.recordChanged(this.record.current);
      return true;
    }
    this.#nextChangeMs = nowMs + this.#settings.changeRetryMs;
    this.#hooks.readRecord();
    return false;
  }

  /** Returns whether commits may go on that waited for a learner. */
  tick(nowMs: number): boolean {
    if (nowMs - this.#tickedMs > this.#settings.followerAckTimeoutMs / 2) this.#awakeSinceMs = nowMs;
    this.#tickedMs = nowMs;
    for (const follower of this.#feed.followers()) this.measure(follower, nowMs);
    const isReleased = this.#checkJoining(nowMs);
    this.plan(nowMs);
    return isReleased;
  }

  /**
   * The slowest learner that is to come in sync and does not keep pace, or is being filled and pins the log. One that was taken out for being slow is not waited
   * for: it would be slow again.
   */
  slowestLearner(): LaggingLearner | undefined {
    const { learners, leaving } = this.record.record;
    let slowest: LaggingLearner | undefined;
    for (const { replica } of learners) {
      const progress = this.#feed.get(replica);
      if (progress === undefined || progress.caughtUpSinceMs !== undefined) continue;
      if (this.#expelled.has(replica) || hasReplica(leaving, replica)) continue;
      const { matchSeq } = progress;
      if (progress.installing && progress.nextSeq > this.#state.appliedSeq) continue;
      if (matchSeq < (slowest?.matchSeq ?? this.#state.log.end.seq)) slowest = { lagEntries: this.#state.log.end.seq - matchSeq, matchSeq };
    }
    return slowest;
  }

  /** Lag up to which a learner keeps pace: well below the time that an in-sync follower may take. */
  measure(follower: FollowerProgress, nowMs: number): void {
    follower.measureLag(this.#state.log.end.seq, nowMs, this.#settings.followerAckTimeoutMs / 2);
  }

  /** Sends the next change, if one is due and none is under way. */
  plan(nowMs: number): void {
    if (this.#inFlight !== undefined || nowMs < this.#nextChangeMs) return;
    const next = this.#nextRecord(nowMs);
    if (next !== undefined && this.#inFlight === undefined) this.#send(next);
  }

  /** Writes the record as it is, so that nothing that compares its present revision can succeed any more (R29). */
  rewrite(nowMs: number): void {
    if (this.#inFlight !== undefined || nowMs < this.#nextChangeMs) return;
    this.#send({ ...this.record.record, changeId: this.#changeOptions().changeId });
  }

  #send(next: PartitionRecord): void {
    this.#inFlight = this.record.begin(next);
    this.#joining = undefined;
    this.#hooks.requestChange(this.#inFlight);
  }

  /** The coordinator's answer about the last follower (R10). A no stands for as long as no answer would. */
  onRemovalAnswer(replica: ReplicaId, mayRemove: boolean, nowMs: number): void {
    if (this.#asked?.replica !== replica) return;
    this.#asked = mayRemove ? { ...this.#asked, mayRemove } : { replica, sinceMs: nowMs, mayRemove };
  }

  /** R10: a leader whose own network is broken would remove everybody and die with what only it has. */
  #mayRemove(member: Member, nowMs: number): boolean {
    if (this.record.record.inSync.length > 2) return true;
    if (this.#asked?.replica !== member.replica) this.#asked = { replica: member.replica, sinceMs: nowMs, mayRemove: false };
    if (nowMs - this.#asked.sinceMs > this.#settings.followerAckTimeoutMs) return true;
    if (!this.#asked.mayRemove) this.#hooks.askRemoval(member);
    return this.#asked.mayRemove;
  }

  #nextRecord(nowMs: number): PartitionRecord | undefined {
    const { record } = this.record;
    const self = this.#state.identity.self.replica;
    const silent = record.inSync.find((member) => member.replica !== self && this.#isSilent(member, nowMs));
    if (silent === undefined) this.#asked = undefined;
    else if (this.#mayRemove(silent, nowMs)) {
      this.#removed.add(silent.replica);
      this.#expelled.add(silent.replica);
      this.#lagging(silent.replica);
      return withoutInSync(record, silent, this.#changeOptions());
    }
    // One that stops goes before it falls silent: until then writes commit with it, and afterwards none waits for it (R29).
    const surplus = record.inSync.find((member) => member.replica !== self && (hasReplica(record.leaving, member.replica) || this.#hooks.isStopping(member)));
    const isSpare = record.inSync.length > Math.max(1, this.#settings.minInSync);
    if (surplus !== undefined && isSpare && this.#hooks.mayPart(surplus)) return withoutInSync(record, surplus, this.#changeOptions());
    const ready = record.learners.find((member) => !hasReplica(record.leaving, member.replica) && this.#isReady(member, nowMs));
    if (ready !== undefined) {
      this.#removed.delete(ready.replica);
      this.#expelled.delete(ready.replica);
      return withInSync(record, ready, this.#changeOptions());
    }
    if (record.eligible.length > 0 && record.inSync.length >= this.#settings.minInSync) return { ...record, eligible: [], changeId: this.#changeOptions().changeId };
    // Nothing to change, but an attempt in doubt: settle it by writing the record as it is (R7).
    return this.record.isChanging ? { ...record, changeId: this.#changeOptions().changeId } : undefined;
  }

  /** Its time without lag begins anew (R24): one that was idle and silent at once looks as if it kept pace. */
  #lagging(replica: ReplicaId): void {
    const progress = this.#feed.get(replica);
    if (progress !== undefined) progress.caughtUpSinceMs = undefined;
  }

  #changeOptions(): { readonly minInSync: number; readonly changeId: string } {
    return { minInSync: this.#settings.minInSync, changeId: randomHex(this.#random, 8) };
  }

  /** What was held is void, and not by any fault of the members (R17). */
  onLeasesDropped(nowMs: number): void {
    this.#awakeSinceMs = nowMs;
  }

  /**
   * No progress, or no lease: a member whose beats come back by no way would hold the partition up for ever, even one
   * that reads the log. It goes while the last lease still stands, since the time-out is shorter (R24).
   */
  #isSilent(member: Member, nowMs: number): boolean {
    const grantedMs = this.#hooks.leaseUntilMs(member, this.#epoch) - this.#settings.leaseMs;
    if (nowMs - Math.max(grantedMs, this.#awakeSinceMs) > this.#settings.followerAckTimeoutMs) return true;
    const progress = this.#feed.get(member.replica);
    if (progress === undefined) {
      return nowMs - (this.#feed.lostSinceMs(member.replica) ?? this.#sinceMs) > this.#settings.followerAckTimeoutMs;
    }
    if (progress.installing) return true;
    return progress.matchSeq < this.#state.log.end.seq && nowMs - progress.lastProgressMs > this.#settings.followerAckTimeoutMs;
  }

  /** R8: it has granted a lease, and has every committed entry; from the attempt on every later commit needs both. */
  #isReady(member: Member, nowMs: number): boolean {
    // A node whose process lost its data is back under a new replica id while the old one is still listed (R1).
    if (this.record.record.inSync.some(({ node }) => node === member.node)) return false;
    if (this.#hooks.isStopping(member)) return false;
    const progress = this.#feed.get(member.replica);
    if (progress === undefined || progress.installing || progress.caughtUpSinceMs === undefined) return false;
    if (this.#removed.has(member.replica) && nowMs - progress.caughtUpSinceMs < this.#settings.rejoinAfterMs) return false;
    // A lease that nears its end comes from one that grants no more: it would go again at once.
    if (this.#hooks.leaseUntilMs(member, this.#epoch) - this.#settings.leaseMs + this.#settings.followerAckTimeoutMs <= nowMs) return false;
    if (progress.matchSeq >= this.#state.appliedSeq) return true;
    // Under load there is always something on its way to it: commits wait for it until it has what is committed.
    this.#joining ??= { progress, sinceMs: nowMs };
    return false;
  }

  /** A learner that does not come to the commit position in time lets commits go on, and is tried again later. */
  #checkJoining(nowMs: number): boolean {
    const joining = this.#joining;
    if (joining === undefined) return false;
    const { progress, sinceMs } = joining;
    const { replica } = progress.member;
    const isGone = this.#feed.get(replica) !== progress || progress.installing || !hasReplica(this.record.record.learners, replica);
    const isLate = nowMs - sinceMs > this.#settings.followerAckTimeoutMs;
    if (!isGone && !isLate) return false;
    if (isLate) {
      this.#removed.add(replica);
      progress.caughtUpSinceMs = undefined;
    }
    this.#joining = undefined;
    return true;
  }
}

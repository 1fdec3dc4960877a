// The leader's log as its followers read it: where each one stands, what it is sent next, and how long the log is kept
// for it. Followers open the streams and ask (R26); what they have not taken yet lies in the log and nowhere else.
import { hasReplica, type Member } from '@atoll/core-membership';
import { WIRE_PART_BYTES_MAX, type ReplicaId } from '@atoll/core-runtime';
import { FollowerProgress } from './follower-progress.ts';
import type { AppendMessage, AppendPartMessage, SubscribeAnswer, SubscribeMessage } from './messages.ts';
import type { ReplicaState } from './replica-state.ts';
import type { LeaderHooks, ReplicaSettings } from './replica-types.ts';

export type FeedMessage = { readonly append: AppendMessage } | { readonly part: AppendPartMessage };

/** A stream that was lost: since when, or since which last progress, the follower has been missed. */
interface LostLink {
  readonly atMs: number;
  readonly wasLagging: boolean;
  /** Last entry that it had. */
  readonly matchSeq: number;
}

/** A follower that has made no progress for so long may need the log for longer. */
const STANDS_STILL_MS = 100;

export class LogFeed {
  readonly #epoch: number;
  readonly #state: ReplicaState;
  readonly #settings: ReplicaSettings;
  readonly #hooks: LeaderHooks;
  readonly #followers = new Map<ReplicaId, FollowerProgress>();
  readonly #lost = new Map<ReplicaId, LostLink>();

  constructor(options: { epoch: number; state: ReplicaState; settings: ReplicaSettings; hooks: LeaderHooks }) {
    this.#epoch = options.epoch;
    this.#state = options.state;
    this.#settings = options.settings;
    this.#hooks = options.hooks;
  }

  followers(): Iterable<FollowerProgress> {
    return this.#followers.values();
  }

  get(replica: ReplicaId): FollowerProgress | undefined {
    return this.#followers.get(replica);
  }

  /** Since when a follower without a link has been missed: -Infinity for one that said it stops; undefined when it never had one. */
  lostSinceMs(replica: ReplicaId): number | undefined {
    return this.#lost.get(replica)?.atMs;
  }

  /** What the follower is to do. Both `accepted` and `install` link it: the log flows from then on. */
  subscribe(message: SubscribeMessage, member: Member, options: { isRequired: boolean; nowMs: number }): SubscribeAnswer {
    const { log, generation } = this.#state;
    const isSameLineage = message.generation.counter === generation.counter && message.generation.id === generation.id;
    const isReadable = message.end.seq >= log.base.seq;
    const isResuming = !message.installed && message.installLogSeq > 0;
    const known = log.epochEnd(message.end.epoch);
    if (!isSameLineage || !(message.installed || isResuming) || !isReadable || known === undefined) {
      const logStart = this.#state.appliedPosition;
      this.#link(message, member, { ...options, endSeq: logStart.seq, installing: true });
      return { kind: 'install', message: { channel: message.channel, epoch: this.#epoch, generation, logStart } };
    }
    if (known.epoch !== message.end.epoch || known.seq < message.end.seq) {
      return { kind: 'divergence', message: { channel: message.channel, epoch: this.#epoch, end: known } };
    }
    this.#link(message, member, { ...options, endSeq: message.end.seq, installing: !message.installed });
    return { kind: 'accepted' };
  }

  #link(
    message: SubscribeMessage,
    member: Member,
    { isRequired, ...options }: { endSeq: number; installing: boolean; isRequired: boolean; nowMs: number },
  ): void {
    const progress = new FollowerProgress({ member, channel: message.channel, ...options });
    // To connect again is no progress (R24): a member that made none before has as little time left as before.
    const lost = this.#lost.get(member.replica);
    if (lost?.wasLagging === true && isRequired && Number.isFinite(lost.atMs)) progress.lastProgressMs = lost.atMs;
    this.#followers.set(member.replica, progress);
    this.#hooks.wake(progress);
  }

  /** The stream to this follower is gone: at `nowMs`, -Infinity when its node said that it stops. */
  unlink(replica: ReplicaId, nowMs: number): void {
    const progress = this.#followers.get(replica);
    if (progress === undefined) return;
    this.#followers.delete(replica);
    const wasLagging = progress.matchSeq < this.#state.log.end.seq;
    this.#lost.set(replica, { atMs: wasLagging ? Math.min(progress.lastProgressMs, nowMs) : nowMs, wasLagging, matchSeq: progress.matchSeq });
  }

  /** Unlinks who is not named any more, and tells it: a later record may name it again. */
  keepOnly(named: readonly Member[], nowMs: number): void {
    for (const follower of this.#followers.values()) {
      if (!hasReplica(named, follower.member.replica)) this.#cutOff(follower, nowMs);
    }
  }

  /** An entry was appended behind `endBefore`. */
  onAppended(endBefore: number, nowMs: number): void {
    for (const follower of this.#followers.values()) {
      if (follower.matchSeq === endBefore) follower.lastProgressMs = nowMs;
      this.#hooks.wake(follower);
    }
  }

  onCommitted(): void {
    for (const follower of this.#followers.values()) this.#hooks.commitMoved(follower);
  }

  /** What to send next, at most about `bytesMax`; undefined when there is nothing. Valid until the log is next changed. */
  nextMessage(progress: FollowerProgress, bytesMax: number, nowMs: number): FeedMessage | undefined {
    const { log } = this.#state;
    if (this.#followers.get(progress.member.replica) !== progress) return undefined;
    if (progress.nextSeq > log.end.seq) {
      if (progress.commitSent === this.#state.appliedSeq) return undefined;
      return { append: this.#appendMessage(progress, { prev: log.end, count: 0, bytes: EMPTY }, nowMs) };
    }
    const run = log.run(progress.nextSeq, Math.min(bytesMax, WIRE_PART_BYTES_MAX));
    if (run.count === 1 && run.bytes.length > WIRE_PART_BYTES_MAX) return { part: this.#nextPart(progress, run) };
    progress.nextSeq += run.count;
    return { append: this.#appendMessage(progress, run, nowMs) };
  }

  /** The next piece of an entry that is too large for one message (R24). */
  #nextPart(progress: FollowerProgress, run: { readonly prev: AppendMessage['prev']; readonly bytes: Buffer }): AppendPartMessage {
    const offset = progress.partOffset;
    const data = run.bytes.subarray(offset, offset + WIRE_PART_BYTES_MAX);
    progress.partOffset += data.length;
    if (progress.partOffset === run.bytes.length) {
      progress.partOffset = 0;
      progress.nextSeq += 1;
    }
    return { channel: progress.channel, epoch: this.#epoch, prev: run.prev, entryBytes: run.bytes.length, offset, data };
  }

  #appendMessage(
    progress: FollowerProgress,
    run: { readonly prev: AppendMessage['prev']; readonly count: number; readonly bytes: Buffer },
    nowMs: number,
  ): AppendMessage {
    progress.commitSent = this.#state.appliedSeq;
    return {
      channel: progress.channel,
      epoch: this.#epoch,
      prev: run.prev,
      count: run.count,
      entries: run.bytes,
      commitSeq: this.#state.appliedSeq,
      timeMs: this.#state.clock.read(nowMs),
    };
  }

  /**
   * Gives log back that nobody needs. What a linked follower still has to read stays, and with it the start of an
   * install's log (R33). One that does not count and stands still is cut off instead: it comes back and catches up
   * another way.
   */
  trim(isRequired: (replica: ReplicaId) => boolean, nowMs: number): void {
    const { log, appliedSeq } = this.#state;
    if (log.bytes <= this.#settings.logBytesMax) return;
    let seq = appliedSeq;
    for (const follower of this.#followers.values()) {
      const stands = follower.matchSeq < log.end.seq && nowMs - follower.lastProgressMs > this.#settings.followerAckTimeoutMs;
      if (stands && !isRequired(follower.member.replica)) this.#cutOff(follower, nowMs);
      else seq = Math.min(seq, follower.nextSeq - 1);
    }
    log.trim(seq, this.#settings.logBytesMax);
  }

  /** Whether one of `named` is away, stands still or does not keep pace, who can still go on with what the log holds (R33). */
  isNeeded(named: readonly Member[], nowMs: number): boolean {
    const { log } = this.#state;
    return named.some(({ replica }) => {
      const progress = this.#followers.get(replica);
      if (progress !== undefined) {
        const isLate = progress.caughtUpSinceMs === undefined || nowMs - progress.lastProgressMs > STANDS_STILL_MS;
        return progress.installing || (progress.matchSeq < log.end.seq && isLate);
      }
      const lost = this.#lost.get(replica);
      return lost !== undefined && lost.matchSeq >= log.base.seq;
    });
  }

  clear(): void {
    this.#followers.clear();
  }

  #cutOff(follower: FollowerProgress, nowMs: number): void {
    this.unlink(follower.member.replica, nowMs);
    this.#hooks.cutOff(follower);
  }
}

const EMPTY = Buffer.alloc(0);

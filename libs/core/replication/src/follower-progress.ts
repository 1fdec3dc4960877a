import type { Member } from '@atoll/core-membership';
import type { AckMessage } from './messages.ts';

/** What a leader knows of one replica that reads its log. Invariant: matchSeq < nextSeq <= end + 1. */
export class FollowerProgress {
  readonly member: Member;
  readonly channel: number;
  /** Next entry to send. */
  nextSeq: number;
  /** Last entry that the follower has appended. */
  matchSeq = 0;
  /** Commit position that was last sent. */
  commitSent = -1;
  /** An install is under way; the log is pinned for it. */
  installing: boolean;
  /** Bytes of the entry `nextSeq` that were sent in parts (R24). */
  partOffset = 0;
  /** Monotonic time of the last progress, or since when there is something to make progress with. */
  lastProgressMs: number;
  /** Since when the follower keeps pace with the log; undefined while it lags. */
  caughtUpSinceMs: number | undefined;
  /** Where the log ended when the present round began, and when that was. */
  #roundEndSeq = Number.MAX_SAFE_INTEGER;
  #roundSinceMs: number;
  /** What the follower can still take, less what was sent since it said so (R22). */
  freeBytes = Number.MAX_SAFE_INTEGER;

  /** `endSeq` is where the follower's log ends; it counts as appended only when an acknowledgement says so (R25). */
  constructor(options: { member: Member; channel: number; endSeq: number; installing: boolean; nowMs: number }) {
    this.member = options.member;
    this.channel = options.channel;
    this.nextSeq = options.endSeq + 1;
    this.installing = options.installing;
    this.lastProgressMs = options.nowMs;
    this.#roundSinceMs = options.nowMs;
  }

  /**
   * Whether it keeps pace, told by rounds (Ongaro, "Consensus: Bridging Theory and Practice", section 4.2.1): how long
   * it takes to append what the log held when the round began. Under load a follower never has everything, but one
   * whose rounds are shorter than `lagMsMax` is never further behind than that.
   */
  measureLag(endSeq: number, nowMs: number, lagMsMax: number): void {
    if (this.#roundEndSeq === Number.MAX_SAFE_INTEGER) this.#roundEndSeq = endSeq;
    const isLate = nowMs - this.#roundSinceMs > lagMsMax;
    if (this.installing || (isLate && this.matchSeq < endSeq)) this.caughtUpSinceMs = undefined;
    if (this.installing || this.matchSeq < this.#roundEndSeq) return;
    if (!isLate || this.matchSeq >= endSeq) this.caughtUpSinceMs ??= nowMs;
    this.#roundEndSeq = endSeq;
    this.#roundSinceMs = nowMs;
  }

  /** For how long, in ms, it has lacked something that the log held; 0 where it keeps pace. As exact as `measureLag` is frequent. */
  lagMs(endSeq: number, nowMs: number): number {
    return this.matchSeq >= Math.min(this.#roundEndSeq, endSeq) ? 0 : Math.max(0, nowMs - this.#roundSinceMs);
  }

  /** Takes an acknowledgement in. Returns whether `matchSeq` or the install moved. */
  onAck(ack: AckMessage, nowMs: number): boolean {
    const moved = ack.appendedSeq > this.matchSeq || ack.installing !== this.installing;
    if (moved || this.partOffset > 0) this.lastProgressMs = nowMs;
    if (ack.appendedSeq > this.matchSeq) this.matchSeq = Math.min(ack.appendedSeq, this.nextSeq - 1);
    this.installing = ack.installing;
    this.freeBytes = ack.freeBytes;
    return moved;
  }
}

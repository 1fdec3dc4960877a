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
  /** Since when the follower has had everything committed; undefined while it lags. */
  caughtUpSinceMs: number | undefined;
  /** What the follower can still take, less what was sent since it said so (R22). */
  freeBytes = Number.MAX_SAFE_INTEGER;

  /** `endSeq` is where the follower's log ends; it counts as appended only when an acknowledgement says so (R25). */
  constructor(options: { member: Member; channel: number; endSeq: number; installing: boolean; nowMs: number }) {
    this.member = options.member;
    this.channel = options.channel;
    this.nextSeq = options.endSeq + 1;
    this.installing = options.installing;
    this.lastProgressMs = options.nowMs;
  }

  /** Takes an acknowledgement in. Returns whether `matchSeq` or the install moved. */
  onAck(ack: AckMessage, nowMs: number, commitSeq: number): boolean {
    const moved = ack.appendedSeq > this.matchSeq || ack.installing !== this.installing;
    if (moved || this.partOffset > 0) this.lastProgressMs = nowMs;
    if (ack.appendedSeq > this.matchSeq) this.matchSeq = Math.min(ack.appendedSeq, this.nextSeq - 1);
    this.installing = ack.installing;
    this.freeBytes = ack.freeBytes;
    if (this.installing || this.matchSeq < commitSeq) this.caughtUpSinceMs = undefined;
    else this.caughtUpSinceMs ??= nowMs;
    return moved;
  }
}

// Leases count on CLOCK_MONOTONIC, which stands still while the machine is suspended or its guest is stopped (R17).
// Other clocks go on meanwhile: each look compares how far they came with how far the monotonic one did. The looks of
// one lease's length are kept, since what matters is how far the clocks part while a lease stands, not from one look
// to the next.

import type { Moment } from '../replica-types.ts';

/** One look at the clocks, in ms. */
export interface ClockReading {
  /** The clock of leases, read before the others. */
  readonly monotonicMs: number;
  /** And once more, after them: a look that was interrupted tells nothing. */
  readonly monotonicAfterMs: number;
  /** Time since the machine's start, suspends included. */
  readonly uptimeMs: number;
  readonly wallMs: number;
}

/** Looks kept per lease's length. */
const LOOKS = 4;

export class ClockGuard {
  readonly #leaseMs: number;
  readonly #driftMs: number;
  /** Oldest first; at least the length of a lease, once so long has passed. */
  #looks: ClockReading[] = [];
  /** By how much the wall clock was ahead of the monotonic one at the last look. */
  #aheadMs = Number.NaN;

  constructor(options: { leaseMs: number; driftMs: number }) {
    this.#leaseMs = options.leaseMs;
    this.#driftMs = options.driftMs;
  }

  /**
   * By how many ms another clock has parted from the monotonic one, if that is more than the drift allowance: leases
   * held are void then. Else 0. A wall clock that is set counts too, whichever way: nobody knows why it jumped.
   */
  check(look: ClockReading): number {
    this.#aheadMs = look.wallMs - look.monotonicMs;
    const widthMs = look.monotonicAfterMs - look.monotonicMs;
    if (widthMs > this.#driftMs / 2) return 0;
    for (const before of this.#looks) {
      const partedMs = partedSince(before, look) - widthMs - (before.monotonicAfterMs - before.monotonicMs);
      if (partedMs <= this.#driftMs) continue;
      this.#looks = [look];
      return partedMs;
    }
    this.#keep(look);
    return 0;
  }

  /**
   * Whether a look is due before an office serves a request whose turn began at `now`: the two clocks that every turn
   * reads anyway have parted. A machine that wakes up has requests in its sockets and its next tick far off, since the
   * clock of timers stood still, too.
   */
  isLookDue(now: Moment): boolean {
    return !(Math.abs(now.wallMs - now.monotonicMs - this.#aheadMs) <= this.#driftMs / 2);
  }

  #keep(look: ClockReading): void {
    const last = this.#looks.at(-1);
    if (last !== undefined && look.monotonicMs - last.monotonicMs < this.#leaseMs / LOOKS) return;
    this.#looks.push(look);
    // The first one is as old as a lease can be, or older: what came before it is of no interest any more.
    while (this.#looks.length > 1 && look.monotonicMs - this.#looks[1]!.monotonicMs >= this.#leaseMs) this.#looks.shift();
  }
}

function partedSince(before: ClockReading, now: ClockReading): number {
  const passedMs = now.monotonicMs - before.monotonicMs;
  const uptimeMs = now.uptimeMs - before.uptimeMs;
  const wallMs = now.wallMs - before.wallMs;
  return Math.max(Math.abs(uptimeMs - passedMs), Math.abs(wallMs - passedMs));
}

// A partition whose writers are faster than a replica that is being added would never have it in sync. So the answers of
// its writes are held back for a little, which slows down whoever waits for them, until the replica keeps pace: a pause
// that grows while the replica falls behind, or does not come near fast enough, and goes when it has come (R33). Only
// answers wait: what is written takes effect in its order, at once.
//
//   a learner pins the log above its bound: grows with the square of the way to twice that, where writes are refused
//   it is behind         for longer than a second: doubles every half second until writers are slower than it by a
//                        quarter, or the lag is gone within 10 s; halves every second when they are slower by more
//                        than half
//   it keeps pace        halves every second
const PAUSE_MS_MAX = 500;
const PAUSE_MS_FIRST = 1;
/** Below it there is none. */
const PAUSE_MS_MIN = 0.5;
/** A learner may be behind for so long before anybody waits for it. */
const PATIENCE_MS = 1000;
/** How soon the lag is to be gone, at the rate at which it shrinks, or which share of the learner's rate that is to be. */
const CATCH_UP_MS = 10_000;
const SHRINK_SHARE_MIN = 0.25;
const SHRINK_SHARE_MAX = 0.5;
/** How often the lag is compared with what it was; acknowledgements of large messages come in bursts, and are waited for. */
const LOOK_MS = 250;
const BURST_MS_MAX = 3000;
const DOUBLING_MS = 500;
const HALVING_MS = 1000;

/** A learner that does not keep pace; while it is being filled, one that could not be sent what is committed. */
export interface LaggingLearner {
  /** Log entries that it has yet to append. */
  readonly lagEntries: number;
  readonly matchSeq: number;
}

export class WriteBrake {
  #lagPauseMs = 0;
  #isPinned = false;
  #behindSinceMs: number | undefined;
  #last: { readonly learner: LaggingLearner; readonly atMs: number } | undefined;
  #easedMs = Number.NEGATIVE_INFINITY;

  /** `learner`: the slowest of those that do not keep pace. To be called often; looks four times a second. */
  look(learner: LaggingLearner | undefined, nowMs: number): void {
    this.#isPinned = learner !== undefined;
    if (learner === undefined) {
      this.#behindSinceMs = undefined;
      this.#last = undefined;
      return this.#ease(nowMs);
    }
    this.#behindSinceMs ??= nowMs;
    this.#last ??= { learner, atMs: nowMs };
    const elapsedMs = nowMs - this.#last.atMs;
    const appended = learner.matchSeq - this.#last.learner.matchSeq;
    if (elapsedMs < LOOK_MS || (appended <= 0 && elapsedMs < BURST_MS_MAX)) return;
    const shrunkBy = this.#last.learner.lagEntries - learner.lagEntries;
    this.#last = { learner, atMs: nowMs };
    if (nowMs - this.#behindSinceMs < PATIENCE_MS) return;
    if (appended > 0 && shrunkBy > appended * SHRINK_SHARE_MAX) return this.#ease(nowMs);
    this.#easedMs = nowMs;
    if (appended > 0 && shrunkBy >= Math.min(appended * SHRINK_SHARE_MIN, (learner.lagEntries * elapsedMs) / CATCH_UP_MS)) return;
    // One step at most doubles it: what it does shows only when the learner has appended more.
    const factor = 2 ** Math.min(1, elapsedMs / DOUBLING_MS);
    this.#lagPauseMs = Math.min(PAUSE_MS_MAX, Math.max(PAUSE_MS_FIRST, this.#lagPauseMs * factor));
  }

  /** Whether `pauseMs` may be above 0. */
  get isOn(): boolean {
    return this.#isPinned || this.#lagPauseMs > 0;
  }

  #ease(nowMs: number): void {
    if (nowMs - this.#easedMs < LOOK_MS) return;
    this.#lagPauseMs /= 2 ** Math.min(1, (nowMs - this.#easedMs) / HALVING_MS);
    this.#easedMs = nowMs;
    if (this.#lagPauseMs < PAUSE_MS_MIN) this.#lagPauseMs = 0;
  }

  /** How long the answer of a write waits, in whole ms, 0 to 500. A log that no learner pins is trimmed with the next acknowledgement. */
  pauseMs(log: { readonly bytes: number; readonly bytesMax: number }): number {
    const fullness = this.#isPinned ? Math.min(1, Math.max(0, log.bytes / log.bytesMax - 1)) : 0;
    return Math.round(Math.max(this.#lagPauseMs, fullness * fullness * PAUSE_MS_MAX));
  }
}

/**
 * Time as far as its owner was awake for it (R11). A process that was stopped for 30 s has heard nobody for 30 s and
 * has learned nothing by that: what a gap between two calls has beyond `toleratedMs` is no time here.
 *
 *   now:       0   50   100   .....   900   950      called every 50 ms, stalled from 100 to 900
 *   own time:  0   50   100           200   250      toleratedMs is 100
 */
export class StallClock {
  readonly #toleratedMs: number;
  #lastMs: number;
  #ownMs = 0;

  /** @param toleratedMs Longest gap that counts in full: twice the time between calls is usual. */
  constructor(toleratedMs: number, nowMs: number) {
    this.#toleratedMs = toleratedMs;
    this.#lastMs = nowMs;
  }

  /** Own time in ms, 0 at the construction; it never goes back. */
  advance(nowMs: number): number {
    const gapMs = Math.max(0, nowMs - this.#lastMs);
    this.#lastMs = Math.max(this.#lastMs, nowMs);
    this.#ownMs += Math.min(gapMs, this.#toleratedMs);
    return this.#ownMs;
  }
}

const WINDOW_MS = 5_000;
const SAMPLES_MAX = 64;

/** How fast a count has grown over the last few seconds. */
export class RateMeter {
  readonly #samples: { atMs: number; count: number }[] = [];

  /** Takes note of the count at a time; times do not go back. A count that fell begins anew. */
  add(count: number, atMs: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && count < last.count) this.#samples.length = 0;
    this.#samples.push({ atMs, count });
    // The one before the window stays: it is where the window begins.
    while (this.#samples.length > SAMPLES_MAX || (this.#samples[1]?.atMs ?? Infinity) <= atMs - WINDOW_MS) this.#samples.shift();
  }

  /** Per second; 0 while nobody knows. With time passing and no more samples it falls. */
  perSecond(nowMs: number): number {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (first === undefined || last === undefined || nowMs <= first.atMs) return 0;
    return ((last.count - first.count) * 1000) / (nowMs - first.atMs);
  }
}

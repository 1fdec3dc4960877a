/** Over which the rate is taken: long enough not to jump with every chunk. */
const WINDOW_MS = 5000;

/** Bytes per second over the last few seconds, from a count that grows. */
export class CopyRate {
  readonly #samples: { readonly atMs: number; readonly bytes: number }[] = [];

  note(bytes: number, nowMs: number): number {
    this.#samples.push({ atMs: nowMs, bytes });
    while (this.#samples.length > 2 && nowMs - this.#samples[1]!.atMs >= WINDOW_MS) this.#samples.shift();
    const first = this.#samples[0]!;
    return nowMs === first.atMs ? 0 : Math.max(0, ((bytes - first.bytes) * 1000) / (nowMs - first.atMs));
  }
}

/** Paces a transfer: how long to wait behind each piece so that the mean since the start stays within the rate. */
export class ByteRate {
  readonly #bytesPerMs: number;
  #dueMs: number;

  /** `bytesPerSecond` 0: no limit. */
  constructor(bytesPerSecond: number, nowMs: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#dueMs = nowMs;
  }

  /** To be called when `bytes` were transferred. Time that was not used is not saved up. */
  delayMs(bytes: number, nowMs: number): number {
    if (this.#bytesPerMs === 0) return 0;
    this.#dueMs = Math.max(this.#dueMs, nowMs) + bytes / this.#bytesPerMs;
    return this.#dueMs - nowMs;
  }
}

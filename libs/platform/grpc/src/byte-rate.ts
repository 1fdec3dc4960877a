import { setTimeout as pause } from 'node:timers/promises';

/** A wait is looked at again after so long, so that another rate takes effect on it, in ms. */
const WAIT_STEP_MS = 100;
/** Less is not waited for but added to the next wait: timers come up to a ms late, and what they waste is not made up for. */
const WAIT_MS_MIN = 10;

/** Paces transfers that share it: each waits behind its pieces until the mean stays within the rate, which may change meanwhile. */
export class ByteRate {
  #bytesPerMs: number;
  /** Bytes that were transferred, and how many of them the rate has covered at `#atMs`; never more (nothing is saved up). */
  #takenBytes = 0;
  #coveredBytes = 0;
  #atMs: number;

  /** `bytesPerSecond` 0: no limit. */
  constructor(bytesPerSecond: number, nowMs: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#atMs = nowMs;
  }

  get bytesPerSecond(): number {
    return this.#bytesPerMs * 1000;
  }

  /** 0: no limit. Holds at once, for those that wait as well. */
  setRate(bytesPerSecond: number, nowMs: number): void {
    this.#cover(nowMs);
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  /** To be called when `bytes` were transferred: how long to wait behind them, in ms, while the rate stays as it is. */
  delayMs(bytes: number, nowMs: number): number {
    return this.#untilCoveredMs(this.#take(bytes, nowMs), nowMs);
  }

  /** As `delayMs`, and waits. Throws the signal's reason when it aborts. */
  async wait(bytes: number, signal: AbortSignal): Promise<void> {
    const endBytes = this.#take(bytes, performance.now());
    let hasWaited = false;
    for (;;) {
      const delayMs = this.#untilCoveredMs(endBytes, performance.now());
      if (delayMs < (hasWaited ? 1 : WAIT_MS_MIN)) return;
      hasWaited = true;
      await pause(Math.min(Math.ceil(delayMs), WAIT_STEP_MS), undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }

  #take(bytes: number, nowMs: number): number {
    this.#cover(nowMs);
    this.#takenBytes += bytes;
    return this.#takenBytes;
  }

  #untilCoveredMs(endBytes: number, nowMs: number): number {
    this.#cover(nowMs);
    return this.#bytesPerMs === 0 ? 0 : Math.max(0, endBytes - this.#coveredBytes) / this.#bytesPerMs;
  }

  #cover(nowMs: number): void {
    const covered = this.#bytesPerMs === 0 ? Infinity : this.#coveredBytes + Math.max(0, nowMs - this.#atMs) * this.#bytesPerMs;
    this.#coveredBytes = Math.min(this.#takenBytes, covered);
    this.#atMs = nowMs;
  }
}

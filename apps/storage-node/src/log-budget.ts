export interface LogBudgetOptions {
  /** Lines that one window lets through. Default 20. */
  readonly linesMax?: number;
  /** Length of a window, in ms, from its first line on. Default 1000. */
  readonly windowMs?: number;
  /** Told at the end of a window how many lines were left out, if any. */
  readonly onMore: (count: number) => void;
}

/** Lets the first lines of a burst through and sums the others up. */
export class LogBudget {
  readonly #linesMax: number;
  readonly #windowMs: number;
  readonly #onMore: (count: number) => void;
  #count = 0;

  constructor({ linesMax = 20, windowMs = 1000, onMore }: LogBudgetOptions) {
    this.#linesMax = linesMax;
    this.#windowMs = windowMs;
    this.#onMore = onMore;
  }

  /** Whether this line is to be written. */
  take(): boolean {
    if (this.#count === 0) setTimeout(() => this.#endWindow(), this.#windowMs).unref();
    this.#count += 1;
    return this.#count <= this.#linesMax;
  }

  #endWindow(): void {
    const leftOut = this.#count - this.#linesMax;
    this.#count = 0;
    if (leftOut > 0) this.#onMore(leftOut);
  }
}

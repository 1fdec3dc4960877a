/** A bounded number of things under way; for one taker at a time. */
export class Slots {
  readonly #max: number;
  #taken = 0;
  #onFree: (() => void) | undefined;
  #onAllFree: (() => void) | undefined;

  constructor(max: number) {
    this.#max = max;
  }

  /** Resolves when one is free, and takes it. */
  async take(): Promise<void> {
    if (this.#taken >= this.#max) {
      await new Promise<void>((resolve) => {
        this.#onFree = resolve;
      });
    }
    this.#taken += 1;
  }

  release(): void {
    this.#taken -= 1;
    this.#onFree?.();
    this.#onFree = undefined;
    if (this.#taken === 0) this.#onAllFree?.();
  }

  async whenAllFree(): Promise<void> {
    if (this.#taken === 0) return;
    await new Promise<void>((resolve) => {
      this.#onAllFree = resolve;
    });
  }
}

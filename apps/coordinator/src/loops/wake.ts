/** Lets a loop sleep until something happened or a time passed. Wakes that come while it works are not lost. */
export class Wake {
  #isDue = false;
  #rouse: (() => void) | undefined;

  /** May be called at any time, as often as one likes. */
  now(): void {
    this.#isDue = true;
    this.#rouse?.();
  }

  async wait(ms: number): Promise<void> {
    if (!this.#isDue && ms > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.#rouse = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#rouse = undefined;
    }
    this.#isDue = false;
  }
}

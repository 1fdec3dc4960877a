/** Lets a loop sleep until something happened or a time passed. Wakes that come while it works are not lost. */
export class Wake {
  #isDue = false;
  #rouse: (() => void) | undefined;
  #soon: NodeJS.Timeout | undefined;

  /** May be called at any time, as often as one likes. */
  now(): void {
    clearTimeout(this.#soon);
    this.#soon = undefined;
    this.#isDue = true;
    this.#rouse?.();
  }

  /** As `now`, after `ms`: what happens until then is looked at once. */
  soon(ms: number): void {
    this.#soon ??= setTimeout(() => this.now(), ms).unref();
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

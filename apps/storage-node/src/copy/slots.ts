/** So many at a time; the others wait for their turn, first come first served but for those who come in the moment of a release. */
export class Slots {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(count: number) {
    this.#free = count;
  }

  /** Resolves with what gives the slot back, to be called once. Throws the signal's reason. */
  async take(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    while (this.#free === 0) await this.#turn(signal);
    this.#free -= 1;
    return () => {
      this.#free += 1;
      const [next] = this.#waiting;
      next?.();
    };
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onTurn = (): void => settle(resolve);
      const onAbort = (): void => settle(() => reject(signal.reason as Error));
      const settle = (act: () => void): void => {
        this.#waiting.delete(onTurn);
        signal.removeEventListener('abort', onAbort);
        act();
      };
      this.#waiting.add(onTurn);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}

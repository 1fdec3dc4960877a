const DELAY_MS_MIN = 50;
const DELAY_MS_MAX = 500;

/** When to open a lost stream again: soon at first, then less often, each time with jitter. */
export class Reconnect {
  readonly #random: () => number;
  readonly #connect: () => void;
  #delayMs = DELAY_MS_MIN;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: { random: () => number; connect: () => void }) {
    this.#random = options.random;
    this.#connect = options.connect;
  }

  /** The stream works. */
  reset(): void {
    this.#delayMs = DELAY_MS_MIN;
  }

  later(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#connect, this.#delayMs * (0.5 + this.#random() / 2));
    this.#delayMs = Math.min(this.#delayMs * 2, DELAY_MS_MAX);
  }

  cancel(): void {
    clearTimeout(this.#timer);
  }
}

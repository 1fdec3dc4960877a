/**
 * Where time comes from. The core never reads one; shells own a clock and pass `nowMs` in.
 * `monotonicMs` never goes back and is not related to the date; `wallMs` is milliseconds since the
 * Unix epoch and may jump.
 */
export interface Clock {
  monotonicMs(): number;
  wallMs(): number;
}

/** A clock that moves only when it is told to: for tests and the simulator. */
export class ManualClock implements Clock {
  #monotonicMs: number;
  #wallMs: number;

  constructor(options: { monotonicMs?: number; wallMs?: number } = {}) {
    this.#monotonicMs = options.monotonicMs ?? 0;
    this.#wallMs = options.wallMs ?? 1_700_000_000_000;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  /** Lets `ms` milliseconds pass on both clocks. */
  advance(ms: number): void {
    this.#monotonicMs += ms;
    this.#wallMs += ms;
  }

  /** Moves the wall clock alone, as an operator or NTP would; `ms` may be negative. */
  stepWall(ms: number): void {
    this.#wallMs += ms;
  }
}

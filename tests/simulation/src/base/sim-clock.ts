import type { ClockReading, Moment } from '@atoll/core-replication';

const WALL_START_MS = 1_700_000_000_000;

/**
 * The clocks of one machine. The monotonic one runs at its own rate and stands still while the machine is suspended;
 * uptime goes on then, and so does the wall clock, which may also be set.
 */
export class SimClock {
  readonly #now: () => number;
  readonly #rate: number;
  readonly #startMs: number;
  wallOffsetMs = 0;
  #suspendedMs = 0;
  #suspendedSinceMs: number | undefined;

  /** `rate` near 1: how fast it runs beside the simulation's time. */
  constructor(options: { now: () => number; rate: number; startMs: number }) {
    this.#now = options.now;
    this.#rate = options.rate;
    this.#startMs = options.startMs;
  }

  get monotonicMs(): number {
    const nowMs = this.#suspendedSinceMs ?? this.#now();
    return this.#startMs + (nowMs - this.#suspendedMs) * this.#rate;
  }

  get moment(): Moment {
    return { monotonicMs: this.monotonicMs, wallMs: WALL_START_MS + this.#now() + this.wallOffsetMs };
  }

  look(): ClockReading {
    const { monotonicMs } = this;
    return { monotonicMs, monotonicAfterMs: monotonicMs, uptimeMs: this.#startMs + this.#now() * this.#rate, wallMs: WALL_START_MS + this.#now() + this.wallOffsetMs };
  }

  suspend(): void {
    this.#suspendedSinceMs ??= this.#now();
  }

  wake(): void {
    if (this.#suspendedSinceMs === undefined) return;
    this.#suspendedMs += this.#now() - this.#suspendedSinceMs;
    this.#suspendedSinceMs = undefined;
  }
}

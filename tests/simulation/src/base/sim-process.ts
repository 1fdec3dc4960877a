import type { EventQueue } from '@atoll/core-replication/testing';
import type { SimClock } from './sim-clock.ts';

/** The life of one process: it does things at its time, unless it is dead, and later when it is paused. */
export class SimProcess {
  /** Of the machine: `n1`. Processes that start again there have the same. */
  readonly id: string;
  readonly incarnation: string;
  readonly clock: SimClock;
  readonly #events: EventQueue;
  #held: (() => void)[] = [];
  #isDead = false;
  #isPaused = false;
  readonly #onDeath: (() => void)[] = [];

  constructor(options: { id: string; incarnation: string; clock: SimClock; events: EventQueue }) {
    this.id = options.id;
    this.incarnation = options.incarnation;
    this.clock = options.clock;
    this.#events = options.events;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Runs `action` later: never when it is dead by then, after the pause when it is paused. */
  after(delayMs: number, action: () => void): void {
    this.#events.after(delayMs, () => this.run(action));
  }

  every(periodMs: number, action: () => void): void {
    this.after(periodMs, () => {
      this.every(periodMs, action);
      action();
    });
  }

  run(action: () => void): void {
    if (this.#isDead) return;
    if (this.#isPaused) this.#held.push(action);
    else action();
  }

  /** What arrives meanwhile waits, timers too. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.clock.wake();
    if (!this.#isPaused) return;
    this.#isPaused = false;
    const held = this.#held;
    this.#held = [];
    for (const action of held) this.run(action);
  }

  onDeath(listener: () => void): void {
    this.#onDeath.push(listener);
  }

  die(): void {
    if (this.#isDead) return;
    this.#isDead = true;
    this.#held = [];
    for (const listener of this.#onDeath) listener();
  }
}

import type { Moment } from '@atoll/core-replication';

/**
 * Work that waits for the end of the present turn of the event loop, so that what arrived together leaves together:
 * answers in one message per stream, log entries in one message per follower.
 */
export class TurnEnd {
  #tasks: (() => void)[] = [];
  #isScheduled = false;

  /** Runs `task` once, after everything that is readable now was read. */
  schedule(task: () => void): void {
    this.#tasks.push(task);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.#run);
  }

  readonly #run = (): void => {
    this.#isScheduled = false;
    const tasks = this.#tasks;
    this.#tasks = [];
    for (const task of tasks) task();
  };
}

/** Both clocks, read now. */
export function readMoment(): Moment {
  return { monotonicMs: performance.now(), wallMs: Date.now() };
}

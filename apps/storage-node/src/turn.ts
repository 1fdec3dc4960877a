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
    let done = 0;
    try {
      while (done < tasks.length) tasks[done++]!();
    } finally {
      // A task that throws takes nobody else's turn.
      for (; done < tasks.length; done += 1) this.schedule(tasks[done]!);
    }
  };
}

/** Both clocks, read now. */
export function readMoment(): Moment {
  return { monotonicMs: performance.now(), wallMs: Date.now() };
}

import type { Io } from '../io.ts';

const BAR_WIDTH = 30;

/** A bar of what is done, on stderr, for people: nothing where that is no terminal. */
export class ProgressLine {
  readonly #io: Io;
  #isShown = false;

  constructor(io: Io) {
    this.#io = io;
  }

  show(done: number, total: number, unit: string): void {
    if (this.#io.stderr.isTTY !== true) return;
    const filled = total === 0 ? BAR_WIDTH : Math.round((BAR_WIDTH * done) / total);
    this.#isShown = true;
    this.#io.stderr.write(`\r[${'#'.repeat(filled)}${'.'.repeat(BAR_WIDTH - filled)}] ${done} of ${total} ${unit}`);
  }

  /** Leaves no trace. */
  end(): void {
    if (this.#isShown) this.#io.stderr.write('\r\u001B[2K');
    this.#isShown = false;
  }
}

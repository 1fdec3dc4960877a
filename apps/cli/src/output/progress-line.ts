import type { Io } from '../io.ts';
import { bar } from './bar.ts';

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
    this.#isShown = true;
    this.#io.stderr.write(`\r${bar(total === 0 ? 1 : done / total, BAR_WIDTH)} ${done} of ${total} ${unit}`);
  }

  /** Leaves no trace. */
  end(): void {
    if (this.#isShown) this.#io.stderr.write('\r\u001B[2K');
    this.#isShown = false;
  }
}

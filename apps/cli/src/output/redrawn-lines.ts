import type { Io } from '../io.ts';
import { printable } from './table.ts';

const ROWS_DEFAULT = 24;
const COLUMNS_DEFAULT = 80;

/** Lines on a terminal that are drawn anew in their place. What stood above them stays. */
export class RedrawnLines {
  readonly #io: Io;
  #drawn = 0;

  constructor(io: Io) {
    this.#io = io;
  }

  /** How many lines can be drawn: one row is left for the cursor, so that nothing scrolls. */
  get rows(): number {
    return Math.max((this.#io.stdout.rows || ROWS_DEFAULT) - 1, 1);
  }

  /** Width of a line. The last column stays free: writing there makes some terminals begin another line. */
  get columns(): number {
    return Math.max((this.#io.stdout.columns || COLUMNS_DEFAULT) - 1, 1);
  }

  /** Takes the place of what was drawn before. Lines that are too long are cut, those that are too many left out. */
  draw(lines: readonly string[]): void {
    const shown = lines.slice(0, this.rows).map((line) => printable(line).slice(0, this.columns).trimEnd());
    this.#io.stdout.write(`${this.#back()}${shown.map((line) => `${line}\n`).join('')}`);
    this.#drawn = shown.length;
  }

  /** Leaves no trace. */
  end(): void {
    if (this.#drawn > 0) this.#io.stdout.write(this.#back());
    this.#drawn = 0;
  }

  #back(): string {
    return this.#drawn === 0 ? '' : `\u001B[${this.#drawn}A\r\u001B[J`;
  }
}

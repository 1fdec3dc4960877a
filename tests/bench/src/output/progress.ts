import type { WriteStream } from 'node:tty';

export interface ProgressOptions {
  /** For people: `replaying`. */
  readonly label: string;
  /** What `done` counts up to; 0: not known. */
  readonly total: number;
  readonly stream: Pick<WriteStream, 'write' | 'isTTY' | 'columns'>;
  /** Milliseconds, monotonic. */
  readonly nowMs: () => number;
}

const BAR_CELLS = 30;
const REDRAW_MS = 100;
const LINE_EVERY_MS = 5000;

/** On a terminal a bar that is drawn over itself; elsewhere a line every five seconds. The last state is always shown. */
export class Progress {
  readonly #options: ProgressOptions;
  readonly #startMs: number;
  #lastDrawnMs: number;
  #done = 0;

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#startMs = options.nowMs();
    this.#lastDrawnMs = options.stream.isTTY ? this.#startMs - REDRAW_MS : this.#startMs;
  }

  /** `detail`: read only when something is drawn. */
  update(done: number, detail: () => string = () => ''): void {
    this.#done = done;
    const { stream, nowMs } = this.#options;
    const now = nowMs();
    if (now - this.#lastDrawnMs < (stream.isTTY ? REDRAW_MS : LINE_EVERY_MS)) return;
    this.#lastDrawnMs = now;
    this.#draw(now, detail());
  }

  end(detail = ''): void {
    this.#draw(this.#options.nowMs(), detail);
    if (this.#options.stream.isTTY) this.#options.stream.write('\n');
  }

  #draw(nowMs: number, detail: string): void {
    const { stream, label, total } = this.#options;
    const seconds = (nowMs - this.#startMs) / 1000;
    const rate = seconds > 0 ? Math.round(this.#done / seconds) : 0;
    const share = total > 0 ? Math.min(1, this.#done / total) : 0;
    const counts = `${this.#done}${total > 0 ? ` of ${total}` : ''}, ${rate}/s${detail === '' ? '' : `, ${detail}`}`;
    if (!stream.isTTY) {
      stream.write(`${label}: ${total > 0 ? `${Math.floor(100 * share)} %, ` : ''}${counts}\n`);
      return;
    }
    const bar = total > 0 ? `[${'#'.repeat(Math.round(share * BAR_CELLS)).padEnd(BAR_CELLS, '.')}] ${String(Math.floor(100 * share)).padStart(3)} % ` : '';
    stream.write(`\r\u001b[2K${`${label} ${bar}${counts}`.slice(0, Math.max(20, (stream.columns ?? 80) - 1))}`);
  }
}

/** How the disk does: its last error, and how long flushes take. Without a write-ahead log it is always well. */
export class DiskHealth {
  readonly #readers = new Set<FlushReader>();
  #error = '';
  #flushSinceMs: number | undefined;

  /** The last error of the disk until something succeeded again; empty when it works. */
  get error(): string {
    return this.#error;
  }

  failed(error: unknown): void {
    this.#error = error instanceof Error ? error.message : String(error);
  }

  works(): void {
    this.#error = '';
  }

  flushBegan(nowMs: number): void {
    this.#flushSinceMs = nowMs;
  }

  flushEnded(nowMs: number): void {
    const tookMs = nowMs - (this.#flushSinceMs ?? nowMs);
    this.#flushSinceMs = undefined;
    for (const reader of this.#readers) reader.note(tookMs);
  }

  /** Time that a flush has been under way, in ms; 0 when none is. */
  flushingMs(nowMs: number): number {
    return this.#flushSinceMs === undefined ? 0 : nowMs - this.#flushSinceMs;
  }

  /** To be closed when it is not asked any more. */
  reader(): FlushReader {
    const reader: FlushReader = new FlushReader({ flushingMs: (nowMs) => this.flushingMs(nowMs), onClose: () => this.#readers.delete(reader) });
    this.#readers.add(reader);
    return reader;
  }
}

/** The slowest flush since it was last asked; one that has not ended counts with what it has taken so far. */
export class FlushReader {
  readonly #flushingMs: (nowMs: number) => number;
  readonly #onClose: () => void;
  #slowestMs = 0;

  constructor(options: { flushingMs: (nowMs: number) => number; onClose: () => void }) {
    this.#flushingMs = options.flushingMs;
    this.#onClose = options.onClose;
  }

  note(ms: number): void {
    this.#slowestMs = Math.max(this.#slowestMs, ms);
  }

  take(nowMs: number): number {
    const slowestMs = Math.max(this.#slowestMs, this.#flushingMs(nowMs));
    this.#slowestMs = 0;
    return slowestMs;
  }

  close(): void {
    this.#onClose();
  }
}

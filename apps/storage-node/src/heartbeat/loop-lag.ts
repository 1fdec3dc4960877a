/** The probe's interval, in ms. */
const INTERVAL_MS = 10;

/**
 * How long the event loop stood still, for each of its readers since that one last asked. By a timer of its own:
 * `monitorEventLoopDelay` does not see a stall that begins in the first interval after a reset.
 */
export class LoopLag {
  readonly #readers = new Set<LoopLagReader>();
  readonly #timer: NodeJS.Timeout;
  #tickedMs = performance.now();

  /** `onTick` hears with each tick of the probe by how many ms it was late: what who came at that moment had to wait. */
  constructor(onTick?: (lateMs: number) => void) {
    this.#timer = setInterval(() => onTick?.(Math.max(0, this.#look())), INTERVAL_MS);
    this.#timer.unref();
  }

  /** To be closed when it is not asked any more. */
  reader(): LoopLagReader {
    const reader: LoopLagReader = new LoopLagReader({ look: () => this.#look(), onClose: () => this.#readers.delete(reader) });
    this.#readers.add(reader);
    return reader;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#readers.clear();
  }

  /** Who asks right after a stall may come before the timer. Returns by how much the loop was late. */
  #look(): number {
    const nowMs = performance.now();
    const lateMs = nowMs - this.#tickedMs - INTERVAL_MS;
    this.#tickedMs = nowMs;
    if (lateMs > 0) for (const reader of this.#readers) reader.note(lateMs);
    return lateMs;
  }
}

export class LoopLagReader {
  readonly #look: () => void;
  readonly #onClose: () => void;
  #longestMs = 0;

  constructor(options: { look: () => void; onClose: () => void }) {
    this.#look = options.look;
    this.#onClose = options.onClose;
  }

  note(ms: number): void {
    this.#longestMs = Math.max(this.#longestMs, ms);
  }

  /** Longest stall since the last call, in ms. */
  take(): number {
    this.#look();
    const longestMs = this.#longestMs;
    this.#longestMs = 0;
    return longestMs;
  }

  close(): void {
    this.#onClose();
  }
}

import { monitorEventLoopDelay } from 'node:perf_hooks';

/** The probe's timer interval, in ms: the shortest stall that it sees. */
const RESOLUTION_MS = 10;
const NANOSECONDS = 1e6;

/** How long the event loop stood still, for each of its readers since that one last asked. */
export class LoopLag {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #readers = new Set<LoopLagReader>();

  constructor() {
    this.#delay.enable();
  }

  /** To be closed when it is not asked any more. */
  reader(): LoopLagReader {
    const reader: LoopLagReader = new LoopLagReader({ collect: () => this.#collect(), onClose: () => this.#readers.delete(reader) });
    this.#readers.add(reader);
    return reader;
  }

  close(): void {
    this.#delay.disable();
    this.#readers.clear();
  }

  #collect(): void {
    const longestMs = this.#delay.count === 0 ? 0 : Math.max(0, this.#delay.max / NANOSECONDS - RESOLUTION_MS);
    this.#delay.reset();
    for (const reader of this.#readers) reader.note(longestMs);
  }
}

export class LoopLagReader {
  readonly #collect: () => void;
  readonly #onClose: () => void;
  #longestMs = 0;

  constructor(options: { collect: () => void; onClose: () => void }) {
    this.#collect = options.collect;
    this.#onClose = options.onClose;
  }

  note(ms: number): void {
    this.#longestMs = Math.max(this.#longestMs, ms);
  }

  /** Longest stall since the last call, in ms. */
  take(): number {
    this.#collect();
    const longestMs = this.#longestMs;
    this.#longestMs = 0;
    return longestMs;
  }

  close(): void {
    this.#onClose();
  }
}

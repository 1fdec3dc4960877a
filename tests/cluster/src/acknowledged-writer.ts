// Writers that remember what was acknowledged last, by key, and what they were refused with.
import { setTimeout as pause } from 'node:timers/promises';
import { isAtollError, type AtollClient } from '@atoll/client';

const LONG = { deadlineMs: 40_000 };
/** A refusal is answered at once: refused writers would take the processor from everybody. */
const REFUSED_PAUSE_MS = 5;

export interface WriterOptions {
  readonly client: AtollClient;
  readonly keys: number;
  readonly workers?: number;
}

/** Writes all keys over and over until it is stopped; each key by one of the workers alone. */
export class AcknowledgedWriter {
  readonly acknowledged = new Map<string, string>();
  /** Values that may be there as well: it is not known what became of the write. */
  readonly doubtful = new Map<string, Set<string>>();
  /** By reason. */
  readonly refusals = new Map<string, number>();
  writes = 0;
  /** The longest that a write took which was acknowledged, in ms. */
  slowestMs = 0;
  readonly #stop = new AbortController();
  readonly #writing: Promise<unknown>;

  constructor({ client, keys, workers = 4 }: WriterOptions) {
    this.#writing = Promise.all(Array.from({ length: workers }, (_, worker) => this.#write(client, worker, workers, keys)));
  }

  refused(reason: string): number {
    return this.refusals.get(reason) ?? 0;
  }

  /** Keys of which somebody does not say what was acknowledged. */
  async lost(reader: AtollClient): Promise<string[]> {
    const keys = [...this.acknowledged.keys()];
    const found = await reader.getMany(keys, LONG);
    return keys.filter((key, index) => {
      const outcome = found[index]!;
      const value = outcome.ok ? outcome.value?.value.toString() : undefined;
      return value !== this.acknowledged.get(key) && (value === undefined || this.doubtful.get(key)?.has(value) !== true);
    });
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#writing;
  }

  async #write(client: AtollClient, worker: number, workers: number, keys: number): Promise<void> {
    for (let round = worker; !this.#stop.signal.aborted; round += workers) {
      const key = `key-${worker}-${Math.floor(round / workers) % Math.ceil(keys / workers)}`;
      const value = `value ${round}`;
      const startMs = performance.now();
      try {
        await client.set(key, value, LONG);
        this.acknowledged.set(key, value);
        this.doubtful.delete(key);
        this.writes += 1;
        this.slowestMs = Math.max(this.slowestMs, performance.now() - startMs);
      } catch (error) {
        const reason = isAtollError(error) ? error.reason : String(error);
        this.refusals.set(reason, this.refused(reason) + 1);
        if (reason === 'WRITE_IN_DOUBT' || reason === 'DEADLINE_EXCEEDED') this.doubtful.set(key, (this.doubtful.get(key) ?? new Set()).add(value));
        await pause(REFUSED_PAUSE_MS);
      }
    }
  }
}

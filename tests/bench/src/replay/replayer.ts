import { setTimeout as pause } from 'node:timers/promises';
import { isAtollError, type AtollClient } from '@atoll/client';
import { Expectations } from '../expectations.ts';
import { Latencies } from '../latencies.ts';
import type { TraceRequest } from '../trace.ts';
import { Slots } from './slots.ts';

export interface ReplayOptions {
  /** Writes to the keyspace that the client was made for; nobody else may write its keys meanwhile. */
  readonly client: AtollClient;
  readonly requests: AsyncIterable<TraceRequest> | Iterable<TraceRequest>;
  /** Requests under way at a time. Default 64. */
  readonly concurrency?: number;
  /** Seconds of the trace per second; Infinity: as fast as possible. Default Infinity. */
  readonly speed?: number;
  readonly signal?: AbortSignal | undefined;
  /** Called once per request that ended. */
  readonly onProgress?: (done: number) => void;
}

export interface ReplayResult {
  /** What the keys hold now, as far as the answers tell. */
  readonly expectations: Expectations;
  readonly requests: number;
  readonly gets: number;
  readonly hits: number;
  /** Writes, those after a miss included. */
  readonly sets: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly elapsedMs: number;
  readonly getLatencies: Latencies;
  readonly setLatencies: Latencies;
  /** Failed operations by reason. */
  readonly errors: ReadonlyMap<string, number>;
  /** Reads that hit something else than what the key must hold. */
  readonly wrongReads: readonly string[];
  /** Reads that missed a key with a confirmed write. */
  readonly missingReads: number;
}

const CONCURRENCY_DEFAULT = 64;

/**
 * Plays a trace read-through: a get, and a set on a miss; a write is a set. Requests of one key run one after the
 * other, in the order of the trace; others run side by side. Each value read is compared with the one expected.
 */
export async function replay(options: ReplayOptions): Promise<ReplayResult> {
  const run = new Replay(options);
  return run.play();
}

class Replay {
  readonly #options: ReplayOptions;
  readonly #expectations = new Expectations();
  readonly #getLatencies = new Latencies();
  readonly #setLatencies = new Latencies();
  readonly #errors = new Map<string, number>();
  readonly #wrongReads: string[] = [];
  /** The last request of each key that has one under way. */
  readonly #tails = new Map<string, Promise<void>>();
  readonly #counts = { requests: 0, gets: 0, hits: 0, sets: 0, bytesRead: 0, bytesWritten: 0, missingReads: 0 };

  constructor(options: ReplayOptions) {
    this.#options = options;
  }

  async play(): Promise<ReplayResult> {
    const { requests, concurrency = CONCURRENCY_DEFAULT, speed = Infinity, signal, onProgress } = this.#options;
    const slots = new Slots(concurrency);
    const startMs = performance.now();
    let traceStartMs: number | undefined;
    try {
      for await (const request of requests) {
        signal?.throwIfAborted();
        traceStartMs ??= request.timeMs;
        const aheadMs = (request.timeMs - traceStartMs) / speed - (performance.now() - startMs);
        if (aheadMs > 1) await pause(aheadMs, undefined, signal === undefined ? {} : { signal });
        await slots.take();
        this.#inOrderOfKey(request, () => {
          slots.release();
          this.#counts.requests += 1;
          onProgress?.(this.#counts.requests);
        });
      }
    } finally {
      await slots.whenAllFree();
    }
    return {
      ...this.#counts,
      expectations: this.#expectations,
      elapsedMs: performance.now() - startMs,
      getLatencies: this.#getLatencies,
      setLatencies: this.#setLatencies,
      errors: this.#errors,
      wrongReads: this.#wrongReads,
    };
  }

  #inOrderOfKey(request: TraceRequest, onDone: () => void): void {
    const { key } = request;
    const before = this.#tails.get(key);
    const run = async (): Promise<void> => {
      await before;
      await (request.kind === 'get' ? this.#readThrough(request) : this.#write(request));
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
      onDone();
    };
    const tail = run();
    this.#tails.set(key, tail);
  }

  async #readThrough(request: TraceRequest): Promise<void> {
    const { client } = this.#options;
    const startMs = performance.now();
    try {
      const entry = await client.get(request.key);
      this.#getLatencies.add(performance.now() - startMs);
      this.#counts.gets += 1;
      const finding = this.#expectations.check(request.key, entry?.value);
      if (finding === 'wrong') this.#wrongReads.push(request.key);
      if (finding === 'missing') this.#counts.missingReads += 1;
      if (entry !== undefined) {
        this.#counts.hits += 1;
        this.#counts.bytesRead += entry.value.length;
        return;
      }
    } catch (error) {
      this.#failed(error);
      return;
    }
    await this.#write(request);
  }

  async #write({ key, valueBytes }: TraceRequest): Promise<void> {
    const write = this.#expectations.planWrite(key, valueBytes);
    const startMs = performance.now();
    try {
      await this.#options.client.set(key, write.value, { noExpiry: true });
      write.confirm();
      this.#setLatencies.add(performance.now() - startMs);
      this.#counts.sets += 1;
      this.#counts.bytesWritten += valueBytes;
    } catch (error) {
      const reason = this.#failed(error);
      if (reason === 'WRITE_IN_DOUBT') write.doubt();
    }
  }

  /** Answers the reason. */
  #failed(error: unknown): string {
    const reason = isAtollError(error) ? error.reason : `bug: ${error instanceof Error ? error.message : String(error)}`;
    this.#errors.set(reason, (this.#errors.get(reason) ?? 0) + 1);
    return reason;
  }
}

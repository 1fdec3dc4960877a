// Reads, writes and deletes at a steady rate on keys that are there, each answer checked against what was acknowledged
// before. The loop is open: an operation that waits delays no other, so that a pause shows as what callers would see.
import { createClient, isAtollError, type AtollClient } from '@atoll/client';
import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { Latencies } from '../../latencies.ts';
import { isValue, makeValue } from '../../value-pattern.ts';

export interface MixedLoadOptions {
  readonly router: string;
  /** Keys are key-0 to key-(keys - 1); each holds what write 1 of it writes. */
  readonly keys: number;
  readonly valueBytes: number;
  readonly operationsPerSecond: number;
  readonly seed: number;
}

interface Sample {
  readonly dueMs: number;
  readonly tookMs: number;
}

/** Of a hundred operations; the others are reads. */
const SETS_OF_100 = 45;
const DELETES_OF_100 = 5;
const INTERVAL_MS = 5;
const DEADLINE_MS = 10_000;
const READS_AT_ONCE = 256;
/** More are not under way at a time, nor on more than half of the keys: they are sent later, and their time counts from when they were due. */
const UNDER_WAY_MAX = 4000;

export class MixedLoad {
  readonly #options: MixedLoadOptions;
  readonly #client: AtollClient;
  readonly #random: SeededRandom;
  /** Number of the last write that was acknowledged; of a deleted key, that before. */
  readonly #written: Uint32Array;
  readonly #isDeleted: Uint8Array;
  /** An operation on the key is under way: one at a time, so that it is clear what it must hold. */
  readonly #isBusy: Uint8Array;
  /** Keys of writes that failed: they may hold either. */
  readonly #doubtful = new Set<number>();
  readonly #samples: Sample[] = [];
  readonly #pending = new Set<Promise<void>>();
  readonly #failures = new Map<string, number>();
  #wrong = 0;
  #sent = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: MixedLoadOptions) {
    this.#options = options;
    this.#client = createClient({ routers: [options.router], deadlineMs: DEADLINE_MS, maxInFlight: 4096 });
    this.#random = new SeededRandom(options.seed);
    this.#written = new Uint32Array(options.keys).fill(1);
    this.#isDeleted = new Uint8Array(options.keys);
    this.#isBusy = new Uint8Array(options.keys);
  }

  /** Once. */
  start(): this {
    const { keys, operationsPerSecond } = this.#options;
    const startedMs = performance.now();
    const underWayMax = Math.min(UNDER_WAY_MAX, keys / 2);
    // Timers come late: what is due is counted, so that the rate is the one that was asked for.
    this.#timer = setInterval(() => {
      const due = Math.floor(((performance.now() - startedMs) * operationsPerSecond) / 1000);
      while (this.#sent < due && this.#pending.size < underWayMax) this.#send(startedMs + (this.#sent * 1000) / operationsPerSecond);
    }, INTERVAL_MS);
    return this;
  }

  /** Resolves when no operation is under way any more. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#pending);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#client.close();
  }

  /** Operations that failed, by reason. */
  get failures(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#failures);
  }

  get failureCount(): number {
    return [...this.#failures.values()].reduce((sum, count) => sum + count, 0);
  }

  get operations(): number {
    return this.#samples.length;
  }

  /** How long operations took that were due from `fromMs` to `toMs`. */
  latencies(fromMs: number, toMs: number): Latencies {
    const latencies = new Latencies();
    for (const { dueMs, tookMs } of this.#samples) if (dueMs >= fromMs && dueMs <= toMs) latencies.add(tookMs);
    return latencies;
  }

  /** Reads every key. Returns how many keys do not hold what was acknowledged last, wrong answers meanwhile included. */
  async countWrong(signal: AbortSignal): Promise<number> {
    const { keys } = this.#options;
    let next = 0;
    const reader = async (): Promise<void> => {
      for (let index = next++; index < keys; index = next++) {
        signal.throwIfAborted();
        const value = (await this.#client.get(`key-${index}`))?.value;
        if (!this.#isExpected(index, value)) this.#wrong += 1;
      }
    };
    await Promise.all(Array.from({ length: READS_AT_ONCE }, reader));
    return this.#wrong;
  }

  #send(dueMs: number): void {
    this.#sent += 1;
    let index = randomBelow(this.#random, this.#options.keys);
    while (this.#isBusy[index] === 1) index = randomBelow(this.#random, this.#options.keys);
    this.#isBusy[index] = 1;
    const kind = randomBelow(this.#random, 100);
    const operation = kind < SETS_OF_100 ? this.#set(index) : kind < SETS_OF_100 + DELETES_OF_100 ? this.#delete(index) : this.#get(index);
    const sent = operation
      .then(
        () => void this.#samples.push({ dueMs, tookMs: performance.now() - dueMs }),
        (error: unknown) => this.#failed(index, error),
      )
      .finally(() => {
        this.#isBusy[index] = 0;
        this.#pending.delete(sent);
      });
    this.#pending.add(sent);
  }

  async #set(index: number): Promise<void> {
    const number = this.#written[index]! + 1;
    await this.#client.set(`key-${index}`, makeValue(`key-${index}`, number, this.#options.valueBytes), { ack: 'IN_SYNC' });
    this.#written[index] = number;
    this.#isDeleted[index] = 0;
  }

  async #delete(index: number): Promise<void> {
    await this.#client.delete(`key-${index}`, { ack: 'IN_SYNC' });
    this.#isDeleted[index] = 1;
  }

  async #get(index: number): Promise<void> {
    const value = (await this.#client.get(`key-${index}`))?.value;
    if (!this.#isExpected(index, value)) this.#wrong += 1;
  }

  #isExpected(index: number, value: Buffer | undefined): boolean {
    if (this.#doubtful.has(index)) return true;
    if (value === undefined) return this.#isDeleted[index] === 1;
    return this.#isDeleted[index] === 0 && isValue(value, `key-${index}`, this.#written[index]!, this.#options.valueBytes);
  }

  #failed(index: number, error: unknown): void {
    this.#doubtful.add(index);
    const reason = isAtollError(error) ? error.reason : (error as Error).message;
    this.#failures.set(reason, (this.#failures.get(reason) ?? 0) + 1);
  }
}

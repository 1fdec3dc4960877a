// A writer of big values: each key has one writer, so that what must be read is known at any moment: what was
// acknowledged last, or a later write whose fate is unknown.
import { setTimeout as pause } from 'node:timers/promises';
import { isAtollError, type AtollClient } from '@atoll/client';
import { SeededRandom, randomBelow } from '@atoll/core-runtime';

export interface BigValuesOptions {
  readonly client: AtollClient;
  readonly seed: number;
  /** Default 8. */
  readonly keys?: number;
  /** Default 4 MiB. */
  readonly bytesMax?: number;
}

const DEADLINE_MS = 30_000;
/** Pause of each writer between its operations: they are to be felt, not to fill the machine. */
const PAUSE_MS = 60;
const KIB = 1024;

/** Bytes that no other version of any key has. */
function contentOf(key: string, version: number, bytes: number): Buffer {
  return Buffer.alloc(bytes, `${key} version ${version} of ${bytes} bytes; `);
}

export class BigValues {
  readonly #options: Required<BigValuesOptions>;
  readonly #stopping = new AbortController();
  readonly #workers: Promise<void>[];
  /** By key, what may be read: the acknowledged one first, then those in doubt. Undefined: nothing. */
  readonly #allowed = new Map<string, readonly (Buffer | undefined)[]>();
  readonly #problems: string[] = [];
  #acknowledgedBytes = 0;

  /** Starts at once. */
  constructor(options: BigValuesOptions) {
    this.#options = { keys: 8, bytesMax: 4 * 1024 * KIB, ...options };
    const half = Math.ceil(this.#options.keys / 2);
    const names = Array.from({ length: this.#options.keys }, (_, index) => `big-${this.#options.seed}-${index}`);
    this.#workers = [names.slice(0, half), names.slice(half)].map((own, index) => this.#run(own, new SeededRandom(this.#options.seed + 50 + index)));
  }

  get acknowledgedBytes(): number {
    return this.#acknowledgedBytes;
  }

  /** Ends the load and reads every key once more. Answers what was read that should not be there, and what was refused. */
  async verify(): Promise<readonly string[]> {
    this.#stopping.abort();
    await Promise.all(this.#workers);
    for (const key of this.#allowed.keys()) await this.#read(key);
    return this.#problems;
  }

  async #run(keys: readonly string[], random: SeededRandom): Promise<void> {
    for (let version = 1; !this.#stopping.signal.aborted; version += 1) {
      const key = keys[randomBelow(random, keys.length)]!;
      const dice = randomBelow(random, 10);
      // Half of them small enough for one message, half of them sent in parts.
      const bytes = 1 + randomBelow(random, dice % 2 === 0 ? 64 * KIB : this.#options.bytesMax);
      if (dice < 6) await this.#write(key, contentOf(key, version, bytes));
      else if (dice < 7) await this.#write(key, undefined);
      else await this.#read(key);
      await pause(PAUSE_MS, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
    }
  }

  async #write(key: string, value: Buffer | undefined): Promise<void> {
    const { client } = this.#options;
    const before = this.#allowed.get(key) ?? [undefined];
    this.#allowed.set(key, [...before, value]);
    try {
      if (value === undefined) await client.delete(key, { deadlineMs: DEADLINE_MS });
      else await client.set(key, value, { deadlineMs: DEADLINE_MS });
      this.#allowed.set(key, [value]);
      this.#acknowledgedBytes += value?.length ?? 0;
    } catch (error) {
      this.#problems.push(`write of ${value?.length ?? 'nothing'} to ${key}: ${isAtollError(error) ? `${error.reason}: ${error.message}` : String(error)}`);
    }
  }

  async #read(key: string): Promise<void> {
    const { client } = this.#options;
    const allowed = this.#allowed.get(key) ?? [undefined];
    try {
      const found = (await client.get(key, { deadlineMs: DEADLINE_MS }))?.value;
      const isRight = allowed.some((value) => (value === undefined ? found === undefined : found !== undefined && value.equals(found)));
      if (!isRight) this.#problems.push(`${key} reads as ${describe(found)}, expected one of ${allowed.map(describe).join(', ')}`);
    } catch (error) {
      this.#problems.push(`read of ${key}: ${isAtollError(error) ? `${error.reason}: ${error.message}` : String(error)}`);
    }
  }
}

const describe = (value: Uint8Array | undefined): string => (value === undefined ? 'nothing' : JSON.stringify(Buffer.from(value.subarray(0, 60)).toString()));

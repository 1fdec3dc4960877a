// A load that knows what must be there afterwards. Each writer owns its keys, so the operations of a key have one
// order; every value names its operation, so a read tells which one it shows. An operation is one of:
//
//   acknowledged  what the key held before is gone for good
//   in doubt      it may have happened, or not (WRITE_IN_DOUBT)
//   failed        a plain failure: it certainly did not happen (R20)
import { setTimeout as pause } from 'node:timers/promises';
import { isAtollError, type AtollClient } from '@atoll/client';
import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';

export interface LoadOptions {
  readonly client: AtollClient;
  readonly keyspace?: string;
  /** Printed with every finding. */
  readonly seed: number;
  readonly writers?: number;
  readonly readers?: number;
  readonly keysPerWriter?: number;
  /** Pause of each worker between its operations, so that the load leaves the machine some room. Default 5. */
  readonly pauseMs?: number;
  readonly deadlineMs?: number;
}

export interface LoadCounts {
  readonly writes: number;
  readonly reads: number;
  /** Failed operations by `write REASON` or `read REASON`. */
  readonly failures: Readonly<Record<string, number>>;
  /** Reads that showed what no order of the operations allows (I5). */
  readonly wrong: readonly string[];
  /** Longest time that one operation took. */
  readonly longestMs: number;
}

/** One operation of a key's only writer, numbered from 1. */
interface KeyHistory {
  readonly key: string;
  issued: number;
  /** The last one that was acknowledged; 0: none. */
  acknowledged: number;
  /** Numbers that may have happened, by whether they are deletions: the acknowledged one and those in doubt behind it. */
  possible: Map<number, 'set' | 'delete'>;
}

const DELETE_SHARE = 10;

export class Load {
  readonly #options: Required<LoadOptions>;
  readonly #histories: KeyHistory[][];
  readonly #failures = new Map<string, number>();
  readonly #wrong: string[] = [];
  readonly #stopping = new AbortController();
  readonly #workers: Promise<void>[] = [];
  #writes = 0;
  #reads = 0;
  #longestMs = 0;

  constructor(options: LoadOptions) {
    this.#options = { keyspace: 'default', writers: 6, readers: 3, keysPerWriter: 40, pauseMs: 5, deadlineMs: 10_000, ...options };
    const { seed, writers, keysPerWriter } = this.#options;
    this.#histories = Array.from({ length: writers }, (_, writer) =>
      Array.from({ length: keysPerWriter }, (_key, index): KeyHistory => ({ key: `load-${seed}-${writer}-${index}`, issued: 0, acknowledged: 0, possible: new Map() })),
    );
  }

  get counts(): LoadCounts {
    return { writes: this.#writes, reads: this.#reads, failures: Object.fromEntries(this.#failures), wrong: this.#wrong, longestMs: Math.round(this.#longestMs) };
  }

  start(): this {
    const { writers, readers, seed } = this.#options;
    for (let index = 0; index < writers; index += 1) this.#workers.push(this.#run(new SeededRandom(seed + index), (random) => this.#write(this.#histories[index]!, random)));
    for (let index = 0; index < readers; index += 1) this.#workers.push(this.#run(new SeededRandom(seed + 1000 + index), (random) => this.#read(random)));
    return this;
  }

  /** Resolves when `writes` more were acknowledged. */
  async progress(writes = 200, timeoutMs = 30_000): Promise<void> {
    const goal = this.#writes + writes;
    await eventually(`${writes} more writes are acknowledged, ${JSON.stringify(this.counts)}`, () => this.#writes >= goal, timeoutMs);
  }

  /** Resolves when the operations under way have ended. */
  async stop(): Promise<LoadCounts> {
    this.#stopping.abort();
    await Promise.all(this.#workers);
    return this.counts;
  }

  /** Reads every key back. Answers what is not as the acknowledged writes demand; empty when all is well. */
  async verify(): Promise<string[]> {
    const { client, keyspace, seed, deadlineMs } = this.#options;
    const problems: string[] = [];
    await Promise.all(
      this.#histories.flat().map(async (history) => {
        const entry = await client.get(history.key, { keyspace, deadlineMs });
        const problem = judge(history, entry?.value.toString(), new Map(history.possible), history.issued);
        if (problem !== undefined) problems.push(`seed ${seed}: ${problem}`);
      }),
    );
    return problems;
  }

  async #run(random: SeededRandom, work: (random: SeededRandom) => Promise<void>): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const startMs = performance.now();
      await work(random);
      this.#longestMs = Math.max(this.#longestMs, performance.now() - startMs);
      await pause(this.#options.pauseMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #write(histories: readonly KeyHistory[], random: SeededRandom): Promise<void> {
    const { client, keyspace, deadlineMs } = this.#options;
    const history = histories[randomBelow(random, histories.length)]!;
    const kind = randomBelow(random, 100) < DELETE_SHARE ? 'delete' : 'set';
    history.issued += 1;
    const number = history.issued;
    history.possible.set(number, kind);
    try {
      if (kind === 'set') await client.set(history.key, String(number), { keyspace, deadlineMs });
      else await client.delete(history.key, { keyspace, deadlineMs });
      history.acknowledged = number;
      history.possible = new Map([[number, kind]]);
      this.#writes += 1;
    } catch (error) {
      const reason = this.#failed('write', error);
      if (reason !== 'WRITE_IN_DOUBT') history.possible.delete(number);
    }
  }

  async #read(random: SeededRandom): Promise<void> {
    const { client, keyspace, deadlineMs, seed } = this.#options;
    const histories = this.#histories[randomBelow(random, this.#histories.length)]!;
    const history = histories[randomBelow(random, histories.length)]!;
    // What was certain before the read began may not be missed; what began before it ended may be seen.
    const before = new Map(history.possible);
    const { acknowledged } = history;
    try {
      const entry = await client.get(history.key, { keyspace, deadlineMs });
      this.#reads += 1;
      const problem = judge({ ...history, acknowledged }, entry?.value.toString(), before, history.issued);
      if (problem !== undefined) this.#wrong.push(`seed ${seed}: ${problem}`);
    } catch (error) {
      this.#failed('read', error);
    }
  }

  #failed(what: string, error: unknown): string {
    const reason = isAtollError(error) ? error.reason : String(error);
    const name = `${what} ${reason}`;
    this.#failures.set(name, (this.#failures.get(name) ?? 0) + 1);
    return reason;
  }
}

/**
 * What is wrong with a value that was read. `possible`: what the key may have held at that moment; operations from
 * `acknowledged + 1` to `issued` may have come in between.
 */
export function judge(history: Pick<KeyHistory, 'key' | 'acknowledged'>, value: string | undefined, possible: ReadonlyMap<number, 'set' | 'delete'>, issued: number): string | undefined {
  const { key, acknowledged } = history;
  const held = [...possible].map(([number, kind]) => `${kind} ${number}`).join(', ');
  if (value === undefined) {
    const mayBeAbsent = acknowledged === 0 || [...possible.values()].includes('delete') || issued > Math.max(0, ...possible.keys());
    return mayBeAbsent ? undefined : `${key} is missing; it may hold: ${held}`;
  }
  const number = Number(value);
  const isInFlight = number > Math.max(acknowledged, ...possible.keys()) && number <= issued;
  return possible.get(number) === 'set' || isInFlight ? undefined : `${key} holds ${value}; it may hold: ${held}`;
}

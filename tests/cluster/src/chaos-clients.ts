// Clients that write down everything they asked and were told, while something is done to the cluster. The history is
// judged as a whole: every key must be linearizable, with what was in doubt kept as unknown (I2, I5).
import { setTimeout as pause } from 'node:timers/promises';
import { isAtollError, type AtollClient } from '@atoll/client';
import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { HistoryRecorder, checkHistory, type KeyAction, type KeyAnswer, type KeyOutcome } from '@atoll/tests-history';

export interface ChaosOptions {
  /** Each worker uses one of them, in turn. */
  readonly clients: readonly AtollClient[];
  /** Printed with every finding. */
  readonly seed: number;
  readonly keyspace?: string;
  readonly workers?: number;
  readonly keys?: number;
  /** Pause of each worker between its operations, in ms. */
  readonly pauseMs?: number;
  readonly deadlineMs?: number;
}

/** Failures after which the operation may have happened, or may yet. */
const UNKNOWN_REASONS = new Set(['WRITE_IN_DOUBT', 'DEADLINE_EXCEEDED', 'PEER_UNAVAILABLE', 'CANCELLED', 'INTERNAL']);
/** Every so many keys one counts: a repeat that took effect twice shows there. */
const COUNTER_EVERY = 4;

export class ChaosClients {
  readonly #options: Required<ChaosOptions>;
  readonly #recorder = new HistoryRecorder();
  readonly #failures = new Map<string, number>();
  readonly #stopping = new AbortController();
  readonly #workers: Promise<void>[];
  #acknowledged = 0;

  /** Starts at once. */
  constructor(options: ChaosOptions) {
    this.#options = { keyspace: 'default', workers: 12, keys: 48, pauseMs: 4, deadlineMs: 20_000, ...options };
    const { workers, seed } = this.#options;
    this.#workers = Array.from({ length: workers }, (_, index) => this.#run(`c${index}`, new SeededRandom(seed + index), this.#options.clients[index % this.#options.clients.length]!));
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Failed operations by `read` or `write` and what the caller was told. */
  get failures(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#failures);
  }

  /** Resolves when `count` more writes were acknowledged. */
  async progress(count = 200, timeoutMs = 40_000): Promise<void> {
    const goal = this.#acknowledged + count;
    await eventually(`${count} more writes are acknowledged; failures so far: ${JSON.stringify(this.failures)}`, () => this.#acknowledged >= goal, timeoutMs);
  }

  /**
   * Ends the load and reads every key once more. Answers what is wrong with the history, for people; empty when every
   * key is linearizable.
   */
  async verify(): Promise<string[]> {
    this.#stopping.abort();
    await Promise.all(this.#workers);
    const { keys, clients, seed } = this.#options;
    await Promise.all(Array.from({ length: keys }, (_, index) => this.#perform('end', clients[0]!, this.#keyName(index), { kind: 'read' })));
    return checkHistory(this.#recorder.operations()).map(({ story, kind }) => `seed ${seed}, ${kind}: ${story}`);
  }

  #keyName(index: number): string {
    return `chaos-${this.#options.seed}-${index}`;
  }

  async #run(name: string, random: SeededRandom, client: AtollClient): Promise<void> {
    const { signal } = this.#stopping;
    for (let number = 1; !signal.aborted; number += 1) {
      const index = randomBelow(random, this.#options.keys);
      await this.#perform(name, client, this.#keyName(index), this.#draw(random, index, `${name}.${number}`));
      await pause(this.#options.pauseMs, undefined, { signal }).catch(() => undefined);
    }
  }

  #draw(random: SeededRandom, index: number, value: string): KeyAction {
    const dice = randomBelow(random, 100);
    if (dice < 40) return { kind: 'read' };
    if (index % COUNTER_EVERY === 0) return { kind: 'increment', delta: 1n, initial: 0n };
    if (dice < 80) return { kind: 'set', value, condition: 'NONE' };
    if (dice < 90) return { kind: 'set', value, condition: 'IF_ABSENT' };
    return { kind: 'delete' };
  }

  async #perform(name: string, client: AtollClient, key: string, action: KeyAction): Promise<void> {
    const operation = this.#recorder.begin(name, key, action);
    try {
      operation.end({ kind: 'ok', answer: await this.#ask(client, key, action) });
      if (action.kind !== 'read') this.#acknowledged += 1;
    } catch (error) {
      operation.end(this.#failed(action, error));
    }
  }

  async #ask(client: AtollClient, key: string, action: KeyAction): Promise<KeyAnswer> {
    const { keyspace, deadlineMs } = this.#options;
    switch (action.kind) {
      case 'read':
        return { value: (await client.get(key, { keyspace, deadlineMs }))?.value.toString() };
      case 'set': {
        const condition = action.condition === 'IF_ABSENT' ? ({ only: 'IF_ABSENT' } as const) : {};
        return { applied: (await client.set(key, action.value, { keyspace, deadlineMs, ...condition })).applied };
      }
      case 'delete':
        return { applied: (await client.delete(key, { keyspace, deadlineMs })).applied };
      case 'increment':
        return { value: String((await client.increment(key, action.delta, { keyspace, deadlineMs })).value) };
      case 'touch':
        return { applied: (await client.touch(key, { keyspace, deadlineMs, ttlMs: 3_600_000 })).found };
      default:
        return action satisfies never;
    }
  }

  #failed(action: KeyAction, error: unknown): KeyOutcome {
    const reason = isAtollError(error) ? error.reason : String(error);
    const name = `${action.kind === 'read' ? 'read' : 'write'} ${isAtollError(error) ? `${reason}: ${error.message}` : reason}`;
    this.#failures.set(name, (this.#failures.get(name) ?? 0) + 1);
    return !isAtollError(error) || UNKNOWN_REASONS.has(reason) ? { kind: 'unknown' } : { kind: 'failed' };
  }
}

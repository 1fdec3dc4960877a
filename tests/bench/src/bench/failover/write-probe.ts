// Writes at a steady rate while something fails: when did each slot take writes again, and is every acknowledged write
// still there? The loop is open: a write that waits delays no other, so that a pause shows as what callers would see.

import { isAtollError } from '@atoll/core-errors';

/** A store under test. A slot is the unit that fails over: a partition, or one master's share of the keys. */
export interface ProbeTarget {
  slotOf(key: string): number;
  /** Resolves when the write was acknowledged. Rejects when it failed or its fate is unknown. */
  write(key: string, value: string): Promise<void>;
  read(key: string): Promise<string | undefined>;
}

interface ProbeWrite {
  readonly key: string;
  readonly slot: number;
  readonly sentMs: number;
  ackedMs: number | undefined;
}

const INTERVAL_MS = 5;
const READS_AT_ONCE = 256;
const POLL_MS = 5;

export class WriteProbe {
  readonly #target: ProbeTarget;
  readonly #prefix: string;
  readonly #writesPerMs: number;
  readonly #writes: ProbeWrite[] = [];
  readonly #pending = new Set<Promise<void>>();
  readonly #failures = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: { target: ProbeTarget; writesPerSecond: number; prefix: string }) {
    this.#target = options.target;
    this.#prefix = options.prefix;
    this.#writesPerMs = options.writesPerSecond / 1000;
  }

  start(): this {
    const startedMs = performance.now();
    // Timers come late: what is due is counted, so that the rate is the one that was asked for.
    this.#timer = setInterval(() => {
      const due = Math.floor((performance.now() - startedMs) * this.#writesPerMs);
      while (this.#writes.length < due) this.#send();
    }, INTERVAL_MS);
    return this;
  }

  #send(): void {
    const key = `${this.#prefix}-${this.#writes.length}`;
    const write: ProbeWrite = { key, slot: this.#target.slotOf(key), sentMs: performance.now(), ackedMs: undefined };
    this.#writes.push(write);
    const sent = this.#target
      .write(key, key)
      .then(
        () => void (write.ackedMs = performance.now()),
        (error: unknown) => this.#failed(error),
      )
      .finally(() => this.#pending.delete(sent));
    this.#pending.add(sent);
  }

  #failed(error: unknown): void {
    const reason = isAtollError(error) ? error.reason : (error as Error).message;
    this.#failures.set(reason, (this.#failures.get(reason) ?? 0) + 1);
  }

  /** Resolves when no write is under way any more. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#pending);
  }

  get acknowledged(): number {
    return this.#writes.reduce((count, { ackedMs }) => count + (ackedMs === undefined ? 0 : 1), 0);
  }

  /** Writes that were not acknowledged, by reason. */
  get failures(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#failures);
  }

  get failureCount(): number {
    return [...this.#failures.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Ms from `sinceMs`, which is now, until a write that was sent later had been acknowledged in each of `slots`; undefined: not within `timeoutMs`. */
  async recovery(slots: ReadonlySet<number>, sinceMs: number, timeoutMs: number, signal: AbortSignal): Promise<number | undefined> {
    const waiting = new Set(slots);
    const from = this.#writes.length;
    let lastMs = sinceMs;
    while (waiting.size > 0) {
      signal.throwIfAborted();
      if (performance.now() - sinceMs > timeoutMs) return undefined;
      for (let index = from; index < this.#writes.length; index += 1) {
        const { slot, ackedMs } = this.#writes[index]!;
        if (ackedMs === undefined || !waiting.delete(slot)) continue;
        lastMs = Math.max(lastMs, ackedMs);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return lastMs - sinceMs;
  }

  /** The longest that a write took, per slot, of those sent from `fromMs` to `toMs`. */
  longestBySlot(slots: ReadonlySet<number>, fromMs: number, toMs: number): Map<number, number> {
    const longest = new Map<number, number>();
    for (const { slot, sentMs, ackedMs } of this.#writes) {
      if (ackedMs === undefined || sentMs < fromMs || sentMs > toMs || !slots.has(slot)) continue;
      longest.set(slot, Math.max(longest.get(slot) ?? 0, ackedMs - sentMs));
    }
    return longest;
  }

  /** Acknowledged writes that are not there. Every key is written once, so any other content is a loss, too. */
  async countLost(): Promise<number> {
    const acked = this.#writes.filter(({ ackedMs }) => ackedMs !== undefined);
    let lost = 0;
    for (let at = 0; at < acked.length; at += READS_AT_ONCE) {
      const values = await Promise.all(acked.slice(at, at + READS_AT_ONCE).map(async ({ key }) => (await this.#target.read(key)) === key));
      lost += values.filter((isThere) => !isThere).length;
    }
    return lost;
  }
}

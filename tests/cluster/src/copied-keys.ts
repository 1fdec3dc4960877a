// Keys of a source that is being copied: somebody who writes and deletes them all the time, and the look at both sides.
import type { AtollClient } from '@atoll/client';

const LONG = { deadlineMs: 30_000 };
const BATCH = 500;

export const keyOf = (index: number): string => `key-${index}`;

/** Keys 0 to `count` - 1 of which source and copy do not say the same, or the source nothing. */
export async function differingKeys(source: AtollClient, copy: AtollClient, count: number): Promise<string[]> {
  const wrong: string[] = [];
  for (let start = 0; start < count; start += BATCH) {
    const keys = Array.from({ length: Math.min(BATCH, count - start) }, (_, index) => keyOf(start + index));
    const [there, here] = await Promise.all([source.getMany(keys, LONG), copy.getMany(keys, LONG)]);
    const text = (outcome: (typeof there)[number]): string => (outcome.ok ? (outcome.value?.value.toString() ?? 'none') : 'failed');
    wrong.push(...keys.filter((_, index) => !there[index]!.ok || text(there[index]!) !== text(here[index]!)));
  }
  return wrong;
}

/** Writes keys 0 to `count` - 1 in a mixed order, and deletes one in five, until it is stopped or one fails. */
export class SteadyWriter {
  /** Operations that were acknowledged. */
  written = 0;
  readonly failures: unknown[] = [];
  readonly #stop = new AbortController();
  readonly #writing: Promise<void>;

  constructor(client: AtollClient, count: number) {
    this.#writing = this.#write(client, count);
  }

  async #write(client: AtollClient, count: number): Promise<void> {
    for (let round = 0; !this.#stop.signal.aborted && this.failures.length === 0; round += 1) {
      const key = keyOf((round * 7919) % count);
      try {
        if (round % 5 === 0) await client.delete(key, LONG);
        else await client.set(key, `round ${round}`, LONG);
        this.written += 1;
      } catch (error) {
        this.failures.push(error);
      }
    }
  }

  /** Whether so many more were acknowledged since `before`, or one failed. */
  hasWritten(more: number, before: number): boolean {
    return this.written > before + more || this.failures.length > 0;
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#writing;
  }
}

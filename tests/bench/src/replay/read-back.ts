import { isAtollError, type AtollClient } from '@atoll/client';
import type { Expectations } from '../expectations.ts';
import { Slots } from './slots.ts';

export interface ReadBackOptions {
  readonly client: AtollClient;
  readonly expectations: Expectations;
  /** Reads under way at a time. Default 64. */
  readonly concurrency?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (done: number) => void;
}

export interface ReadBack {
  /** Keys that hold what they must. */
  readonly correct: number;
  /** Keys with a confirmed write and no entry: lost, or evicted for want of memory. */
  readonly missing: readonly string[];
  /** Keys that hold something else. */
  readonly wrong: readonly string[];
  /** Reads that failed, by reason. */
  readonly errors: ReadonlyMap<string, number>;
}

/** Reads every key that is believed to be live (STRONG) and compares its content. */
export async function readBack({ client, expectations, concurrency = 64, signal, onProgress }: ReadBackOptions): Promise<ReadBack> {
  const slots = new Slots(concurrency);
  const missing: string[] = [];
  const wrong: string[] = [];
  const errors = new Map<string, number>();
  let correct = 0;
  let done = 0;

  const readOne = async (key: string): Promise<void> => {
    try {
      const entry = await client.get(key);
      const finding = expectations.check(key, entry?.value);
      if (finding === 'missing') missing.push(key);
      else if (finding === 'wrong') wrong.push(key);
      else correct += 1;
    } catch (error) {
      const reason = isAtollError(error) ? error.reason : `bug: ${String(error)}`;
      errors.set(reason, (errors.get(reason) ?? 0) + 1);
    }
    slots.release();
    done += 1;
    onProgress?.(done);
  };

  for (const key of expectations.keys()) {
    if (signal?.aborted === true) break;
    await slots.take();
    void readOne(key);
  }
  await slots.whenAllFree();
  signal?.throwIfAborted();
  return { correct, missing, wrong, errors };
}

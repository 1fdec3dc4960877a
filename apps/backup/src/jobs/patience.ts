import { isAtollError, type ErrorReason } from '@atoll/core-errors';
import type { JobRun } from './job-kind.ts';
import { rest } from './rest.ts';

const PAUSE_MS_MIN = 200;
const PAUSE_MS_MAX = 15_000;

/** Failures that may pass: the other side is away, not mounted, or has too much to do. */
const PASSING: ReadonlySet<ErrorReason> = new Set([
  'REPOSITORY_UNAVAILABLE',
  'REPOSITORY_MISMATCH',
  'METADATA_UNAVAILABLE',
  'METADATA_CONFLICT',
  'METADATA_REGRESSED',
  'PEER_UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'OVERLOADED',
  'SHUTTING_DOWN',
  'REPLICA_NOT_READY',
  'NOT_LEADER',
  'STALE_EPOCH',
  'PARTITION_UNAVAILABLE',
  'NOT_COORDINATOR',
]);

export const mayPass = (error: unknown): boolean => isAtollError(error) && PASSING.has(error.reason);

export interface PatienceOptions {
  /** Default: as `mayPass`. */
  readonly isPassing?: (error: unknown) => boolean;
  /** Given up after so long, in ms. Default: as long as the job is not cancelled. */
  readonly patienceMs?: number;
}

/**
 * Attempts until one succeeds or fails for good, with growing pauses (0.2 to 15 s, half of it by chance); the job shows meanwhile what
 * it waits for. Throws the reason of `run.signal` when that aborts.
 */
export async function patiently<T>(run: Pick<JobRun, 'signal' | 'waitsFor'>, attempt: () => Promise<T>, { isPassing = mayPass, patienceMs = Number.POSITIVE_INFINITY }: PatienceOptions = {}): Promise<T> {
  const startMs = performance.now();
  for (let attempts = 0; ; attempts += 1) {
    run.signal.throwIfAborted();
    try {
      const result = await attempt();
      if (attempts > 0) run.waitsFor('');
      return result;
    } catch (error) {
      run.signal.throwIfAborted();
      if (!isPassing(error) || performance.now() - startMs > patienceMs) throw error;
      run.waitsFor((error as Error).message);
      const pauseMs = Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** Math.min(attempts, 20));
      await rest(pauseMs / 2 + (Math.random() * pauseMs) / 2, run.signal);
    }
  }
}

import { setTimeout as delay } from 'node:timers/promises';

/** How often a wait that goes on is told again. */
export const WAITING_INTERVAL_MS = 10_000;

export interface WaitForOptions {
  /** Ends the wait; `waitFor` then rejects with the signal's reason. */
  readonly signal: AbortSignal;
  /** Told at the first failed attempt and then every 10 s: log it. `what` is the text given to `waitFor`. */
  readonly onWaiting: (message: string, error: unknown) => void;
  /** Longest time for one attempt, whose own signal aborts then. Default 5000. */
  readonly attemptMs?: number;
  /** First pause, in ms; each further one is twice as long. Default 100. */
  readonly pauseMsMin?: number;
  /** Longest pause, in ms. Default 2000. */
  readonly pauseMsMax?: number;
  /** False gives up at once and rejects with this error. Default: every failure is worth another attempt. */
  readonly isRetryable?: (error: unknown) => boolean;
  /** Uniform in [0, 1). Default Math.random. */
  readonly random?: () => number;
}

/**
 * Attempts until one succeeds: how a service starts before what it needs. Pauses are between half and the
 * whole of min * 2^n, so that many processes that wait for one server do not come at once (AWS
 * Architecture Blog, "Exponential Backoff And Jitter", equal jitter).
 */
export async function waitFor<T>(what: string, attempt: (signal: AbortSignal) => Promise<T>, options: WaitForOptions): Promise<T> {
  const { signal, onWaiting, attemptMs = 5000, pauseMsMin = 100, pauseMsMax = 2000, isRetryable = () => true, random = Math.random } = options;
  const startMs = performance.now();
  let toldMs = Number.NEGATIVE_INFINITY;
  for (let attempts = 0; ; attempts += 1) {
    signal.throwIfAborted();
    try {
      return await attempt(AbortSignal.any([signal, AbortSignal.timeout(attemptMs)]));
    } catch (error) {
      signal.throwIfAborted();
      if (!isRetryable(error)) throw error;
      const nowMs = performance.now();
      if (nowMs - toldMs >= WAITING_INTERVAL_MS) {
        const since = attempts === 0 ? '' : ` (for ${Math.round((nowMs - startMs) / 1000)} s)`;
        onWaiting(`waiting for ${what}${since}`, error);
        toldMs = nowMs;
      }
      const pauseMs = Math.min(pauseMsMax, pauseMsMin * 2 ** Math.min(attempts, 30));
      await pause(pauseMs / 2 + (random() * pauseMs) / 2, signal);
    }
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch {
    signal.throwIfAborted(); // the reason that was given, not the timer's AbortError
  }
}

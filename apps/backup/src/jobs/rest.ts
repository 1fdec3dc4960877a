import { setTimeout as pause } from 'node:timers/promises';

/** Throws the signal's reason, not an AbortError. */
export async function rest(ms: number, signal: AbortSignal): Promise<void> {
  await pause(ms, undefined, { signal }).catch(() => undefined);
  signal.throwIfAborted();
}

import { setTimeout as sleep } from 'node:timers/promises';

/** Waits `ms`, or until the signal is given; never throws. A process may end meanwhile. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { ref: false, signal }).catch(() => undefined);
}

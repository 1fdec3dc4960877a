import { setTimeout as delay } from 'node:timers/promises';
import { isRunning, signalProcess, type ProcessIdentity } from './process-identity.ts';
import type { RecordedProcess } from './state-file.ts';

const POLL_MS = 50;

/**
 * Ends processes that a killed supervisor left behind: SIGTERM, and SIGKILL after `timeoutMs`. Each is
 * touched only while it is provably the recorded one. Returns the ids of those that were still running.
 */
export async function endLeftovers(recorded: readonly RecordedProcess[], timeoutMs: number): Promise<string[]> {
  const left = recorded.filter(isRunning);
  for (const process of left) {
    signalProcess(process, 'SIGTERM');
    signalProcess(process, 'SIGCONT');
  }
  const deadline = Date.now() + timeoutMs;
  while (left.some(isRunning) && Date.now() < deadline) await delay(POLL_MS);
  for (const process of left) signalProcess(process, 'SIGKILL');
  while (left.some(isRunning)) await delay(POLL_MS);
  return left.map(({ id }) => id);
}

const END_TIMEOUT_MS = 5_000;

/** A process that has promised to end. Throws when it does not within 5 s. */
export async function waitForEnd(process: ProcessIdentity): Promise<void> {
  const deadline = Date.now() + END_TIMEOUT_MS;
  while (isRunning(process)) {
    if (Date.now() > deadline) throw new Error(`process ${process.pid} did not end`);
    await delay(POLL_MS);
  }
}

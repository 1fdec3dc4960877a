import { setTimeout as delay } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import { BackupClient, type BackupJob } from '@atoll/contracts/atoll/v1/backup';
import { isAtollError, type ErrorReason } from '@atoll/core-errors';
import { callServerStream, createChannelOptions } from '@atoll/platform-grpc';
import { unavailable } from '../cli-error.ts';
import { hasEnded } from './job-text.ts';

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 2000;
const PASSING: ReadonlySet<ErrorReason> = new Set(['PEER_UNAVAILABLE', 'SHUTTING_DOWN', 'DEADLINE_EXCEEDED', 'CANCELLED', 'OVERLOADED', 'METADATA_UNAVAILABLE']);

/** Calls the first backup service that can be reached: any of them answers for the cluster. */
export async function askBackup<Response>(addresses: readonly string[], timeoutMs: number, call: (client: BackupClient, settings: { deadlineMs: number }) => Promise<Response>): Promise<Response> {
  const deadline = Date.now() + timeoutMs;
  let lastError: unknown;
  for (const address of addresses) {
    const client = new BackupClient(address, credentials.createInsecure(), createChannelOptions());
    try {
      return await call(client, { deadlineMs: deadline - Date.now() });
    } catch (error) {
      if (!isAtollError(error) || (error.reason !== 'PEER_UNAVAILABLE' && error.reason !== 'SHUTTING_DOWN')) throw error;
      lastError = error;
    } finally {
      client.close();
    }
  }
  throw unavailable(`no backup service answers at ${addresses.join(', ')}`, lastError);
}

export interface FollowJobOptions {
  readonly addresses: readonly string[];
  readonly id: string;
  /** Longest time without an answer. */
  readonly patienceMs: number;
  readonly signal: AbortSignal;
  readonly onJob: (job: BackupJob) => void;
  /** Once until the next message. */
  readonly onLost: (why: string) => void;
}

/** Until the job has ended; undefined when the signal came first. Throws what the service refuses (BACKUP_JOB_NOT_FOUND). */
export async function followJob({ addresses, id, patienceMs, signal, onJob, onLost }: FollowJobOptions): Promise<BackupJob | undefined> {
  let lastMs = performance.now();
  let retryMs = RETRY_MS_MIN;
  let isLost = false;
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    const client = new BackupClient(addresses[attempt % addresses.length]!, credentials.createInsecure(), createChannelOptions());
    try {
      for await (const { job } of callServerStream(client, 'watchBackupJob', { id, intervalMs: 0 }, { signal })) {
        lastMs = performance.now();
        retryMs = RETRY_MS_MIN;
        isLost = false;
        if (job === undefined) continue;
        onJob(job);
        if (hasEnded(job)) return job;
      }
    } catch (error) {
      const isBroken = isAtollError(error) && error.reason === 'INTERNAL' && error.metadata['status'] !== undefined;
      if (!signal.aborted && (!isAtollError(error) || !(PASSING.has(error.reason) || isBroken) || performance.now() - lastMs > patienceMs)) throw error;
      if (!isLost && !signal.aborted) onLost((error as Error).message);
      isLost = true;
    } finally {
      client.close();
    }
    await delay(retryMs, undefined, { signal }).catch(() => undefined);
    retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
  }
  return undefined;
}

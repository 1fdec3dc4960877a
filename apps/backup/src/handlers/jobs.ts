import { setTimeout as pause } from 'node:timers/promises';
import {
  BackupJobKind,
  type CancelBackupJobRequest,
  type CancelBackupJobResponse,
  type GetBackupJobRequest,
  type GetBackupJobResponse,
  type ListBackupJobsRequest,
  type ListBackupJobsResponse,
  type WatchBackupJobRequest,
  type WatchBackupJobResponse,
} from '@atoll/contracts/atoll/v1/backup';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { writeWithBackpressure, type ServerStreamHandler } from '@atoll/platform-grpc';
import { toBackupJob } from '../jobs/job-messages.ts';
import { JOB_KINDS, hasEnded, type JobRecord } from '../jobs/job-record.ts';
import type { JobDesk } from '../jobs/job-desk.ts';

const INTERVAL_MS_DEFAULT = 500;
const INTERVAL_MS_MIN = 100;
const INTERVAL_MS_MAX = 60_000;
/** Watchers of this process; one more is refused as OVERLOADED (I10). */
const WATCHERS_MAX = 64;

export async function listBackupJobs(desk: JobDesk, { kind, active }: ListBackupJobsRequest): Promise<ListBackupJobsResponse> {
  const wanted = JOB_KINDS.find((name) => BackupJobKind[`BACKUP_JOB_KIND_${name}`] === kind);
  if (wanted === undefined && kind !== BackupJobKind.BACKUP_JOB_KIND_UNSPECIFIED) throw invalidArgument('kind', `${kind} is no kind of job`);
  const jobs = (await desk.list()).filter((job) => (wanted === undefined || job.kind === wanted) && (!active || !hasEnded(job)));
  return { jobs: jobs.map(toBackupJob) };
}

export async function getBackupJob(desk: JobDesk, { id }: GetBackupJobRequest): Promise<GetBackupJobResponse> {
  return { job: toBackupJob(await desk.require(id)) };
}

export async function cancelBackupJob(desk: JobDesk, { id }: CancelBackupJobRequest): Promise<CancelBackupJobResponse> {
  return { job: toBackupJob(await desk.update(id, cancelled)) };
}

/** One that has not begun is over at once. */
function cancelled(job: JobRecord): JobRecord {
  if (hasEnded(job) || job.state === 'CANCELLING') return job;
  return job.state === 'PENDING' ? { ...job, state: 'CANCELLED', endedMs: Date.now() } : { ...job, state: 'CANCELLING' };
}

export function watchBackupJob(desk: JobDesk): ServerStreamHandler<WatchBackupJobRequest, WatchBackupJobResponse> {
  let watchers = 0;
  return async (call, { signal }) => {
    const { id, intervalMs } = call.request;
    if (intervalMs !== 0 && (intervalMs < INTERVAL_MS_MIN || intervalMs > INTERVAL_MS_MAX)) throw invalidArgument('interval_ms', `must be 0 or ${INTERVAL_MS_MIN} to ${INTERVAL_MS_MAX}`);
    if (watchers >= WATCHERS_MAX) throw new AtollError('OVERLOADED', `${WATCHERS_MAX} clients watch jobs already`);
    watchers += 1;
    try {
      let last = '';
      for (;;) {
        const job = await desk.require(id);
        const text = JSON.stringify(job);
        if (text !== last) await writeWithBackpressure(call, { job: toBackupJob(job) }, signal);
        last = text;
        if (hasEnded(job)) return;
        // A client that goes away is nothing to tell of.
        await pause(intervalMs || INTERVAL_MS_DEFAULT, undefined, { signal }).catch(() => undefined);
        if (signal.aborted) return;
      }
    } finally {
      watchers -= 1;
    }
  };
}

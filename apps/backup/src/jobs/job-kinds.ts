import type { JobKind } from './job-kind.ts';
import { DrillJob } from '../drill/drill-job.ts';
import { RestoreJob, type RestoreJobOptions } from '../restore/restore-job.ts';
import { VerifyJob } from '../verify/verify-job.ts';
import { collectJob, deleteJob } from './maintenance-jobs.ts';

export interface JobKindsOptions {
  readonly restore: RestoreJobOptions;
  readonly partitionsAtOnce: number;
}

/** Every kind of job that this service does. */
export function jobKinds({ restore, partitionsAtOnce }: JobKindsOptions): readonly JobKind[] {
  const restoreJob = new RestoreJob(restore);
  const verifyJob = new VerifyJob({ partitionsAtOnce });
  return [deleteJob, collectJob, restoreJob, verifyJob, new DrillJob({ restore: restoreJob, verify: verifyJob })];
}

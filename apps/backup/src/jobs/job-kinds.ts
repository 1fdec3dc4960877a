import { BackupJobKind } from '../cold/backup-job.ts';
import type { JobDefaults } from '../config.ts';
import { DrillJob } from '../drill/drill-job.ts';
import type { RepositoryAccess } from '../repository/repository-access.ts';
import { RestoreJob, type RestoreJobOptions } from '../restore/restore-job.ts';
import { VerifyJob } from '../verify/verify-job.ts';
import type { JobKind } from './job-kind.ts';
import { collectJob, deleteJob } from './maintenance-jobs.ts';

export interface JobKindsOptions {
  readonly access: RepositoryAccess;
  readonly defaults: JobDefaults;
  readonly restore: Omit<RestoreJobOptions, 'unreadable'>;
}

/** Every kind of job that this service does. */
export function jobKinds({ access, defaults, restore }: JobKindsOptions): readonly JobKind[] {
  const restoreJob = new RestoreJob({ ...restore, unreadable: access.unreadable });
  const verifyJob = new VerifyJob({ partitionsAtOnce: defaults.partitionsAtOnce });
  return [new BackupJobKind({ access, defaults }), deleteJob, collectJob, restoreJob, verifyJob, new DrillJob({ restore: restoreJob, verify: verifyJob, unreadable: access.unreadable })];
}

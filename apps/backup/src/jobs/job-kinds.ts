import { BackupJobKind } from '../cold/backup-job.ts';
import type { JobDefaults } from '../config.ts';
import type { RepositoryAccess } from '../repository/repository-access.ts';
import type { JobKind } from './job-kind.ts';
import { collectJob, deleteJob } from './maintenance-jobs.ts';

export interface JobKindsOptions {
  readonly access: RepositoryAccess;
  readonly defaults: JobDefaults;
}

/** Every kind of job that this service does. */
export function jobKinds(options: JobKindsOptions): readonly JobKind[] {
  return [new BackupJobKind(options), deleteJob, collectJob];
}

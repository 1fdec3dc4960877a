import type { JobKind } from './job-kind.ts';
import { collectJob, deleteJob } from './maintenance-jobs.ts';

/** Every kind of job that this service does. */
export function jobKinds(): readonly JobKind[] {
  return [deleteJob, collectJob];
}

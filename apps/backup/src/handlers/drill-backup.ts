import type { DrillBackupRequest, DrillBackupResponse } from '@atoll/contracts/atoll/v1/backup';
import { invalidArgument } from '@atoll/core-errors';
import { REPLICATION_FACTOR_MAX } from '@atoll/core-runtime';
import type { DrillAsk } from '../drill/drill-job.ts';
import { checkKeyspaceNames, type JobDesk } from '../jobs/job-desk.ts';
import { toBackupJob } from '../jobs/job-messages.ts';
import { checkArchiveId } from './archives.ts';

export async function drillBackup(desk: JobDesk, { id, archive, keyspaces, replicationFactor, bytesPerSecond }: DrillBackupRequest): Promise<DrillBackupResponse> {
  if (archive !== '') checkArchiveId('archive', archive);
  checkKeyspaceNames('keyspaces', keyspaces);
  if (replicationFactor > REPLICATION_FACTOR_MAX) throw invalidArgument('replication_factor', `must be at most ${REPLICATION_FACTOR_MAX}, is ${replicationFactor}`);
  const ask: DrillAsk = { replicationFactor: replicationFactor || 1, bytesPerSecond };
  return { job: toBackupJob(await desk.submit({ kind: 'DRILL', id, archive, keyspaces, ask: { ...ask } })) };
}

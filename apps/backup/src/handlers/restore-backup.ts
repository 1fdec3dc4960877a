import type { RestoreBackupRequest, RestoreBackupResponse } from '@atoll/contracts/atoll/v1/backup';
import type { JobDesk } from '../jobs/job-desk.ts';
import { toBackupJob } from '../jobs/job-messages.ts';
import { toRestoreAsk } from '../restore/restore-ask.ts';

export async function restoreBackup(desk: JobDesk, request: RestoreBackupRequest): Promise<RestoreBackupResponse> {
  const { id, archive, keyspaces } = request;
  const ask = toRestoreAsk(request);
  return { job: toBackupJob(await desk.submit({ kind: 'RESTORE', id, archive, keyspaces, ask: { ...ask } })) };
}

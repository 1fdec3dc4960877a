import type { VerifyBackupRequest, VerifyBackupResponse } from '@atoll/contracts/atoll/v1/backup';
import type { JobDesk } from '../jobs/job-desk.ts';
import { toBackupJob } from '../jobs/job-messages.ts';
import type { VerifyAsk } from '../verify/verify-job.ts';
import { checkArchiveId } from './archives.ts';

export async function verifyBackup(desk: JobDesk, { id, archive, bytesOnly }: VerifyBackupRequest): Promise<VerifyBackupResponse> {
  checkArchiveId('archive', archive);
  const ask: VerifyAsk = { bytesOnly };
  return { job: toBackupJob(await desk.submit({ kind: 'VERIFY', id, archive, keyspaces: [], ask: { ...ask } })) };
}

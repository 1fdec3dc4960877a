import type { CollectGarbageRequest, CollectGarbageResponse, DeleteArchiveRequest, DeleteArchiveResponse, GetArchiveRequest, GetArchiveResponse, ListArchivesResponse } from '@atoll/contracts/atoll/v1/backup';
import { isArchiveId } from '@atoll/core-archive';
import { invalidArgument } from '@atoll/core-errors';
import type { ArchiveList } from '../jobs/archive-list.ts';
import type { JobDesk } from '../jobs/job-desk.ts';
import { toBackupJob } from '../jobs/job-messages.ts';
import { CHUNK_AGE_MS_DEFAULT, type CollectAsk, type DeleteAsk } from '../jobs/maintenance-jobs.ts';

const ARCHIVES_MAX = 16;

export async function listArchives(archives: ArchiveList): Promise<ListArchivesResponse> {
  return { archives: [...(await archives.list())] };
}

export async function getArchive(archives: ArchiveList, { archive }: GetArchiveRequest): Promise<GetArchiveResponse> {
  checkArchiveId('archive', archive);
  return archives.get(archive);
}

export async function deleteArchive(desk: JobDesk, { id, archives }: DeleteArchiveRequest): Promise<DeleteArchiveResponse> {
  if (archives.length === 0 || archives.length > ARCHIVES_MAX) throw invalidArgument('archives', `must be 1 to ${ARCHIVES_MAX}`);
  archives.forEach((archive, index) => checkArchiveId(`archives[${index}]`, archive));
  const ask: DeleteAsk = { archives };
  return { job: toBackupJob(await desk.submit({ kind: 'DELETE', id, archive: archives[0]!, keyspaces: [], ask: { ...ask } })) };
}

export async function collectGarbage(desk: JobDesk, { id, besideWriters, chunkAgeMsMin = CHUNK_AGE_MS_DEFAULT }: CollectGarbageRequest): Promise<CollectGarbageResponse> {
  if (!(chunkAgeMsMin >= 0)) throw invalidArgument('chunk_age_ms_min', 'must not be negative');
  const ask: CollectAsk = { besideWriters, chunkAgeMsMin };
  return { job: toBackupJob(await desk.submit({ kind: 'COLLECT', id, archive: '', keyspaces: [], ask: { ...ask } })) };
}

/** Throws INVALID_ARGUMENT that names the field. */
export function checkArchiveId(field: string, archive: string): void {
  if (!isArchiveId(archive)) throw invalidArgument(field, 'must be 1 to 128 characters of a-z, 0-9 and -');
}

import { randomBytes } from 'node:crypto';
import { ArchiveKind, type CreateBackupRequest, type CreateBackupResponse } from '@atoll/contracts/atoll/v1/backup';
import { invalidArgument } from '@atoll/core-errors';
import type { BackupAsk } from '../cold/backup-ask.ts';
import { checkKeyspaceNames, type JobDesk } from '../jobs/job-desk.ts';
import { toBackupJob } from '../jobs/job-messages.ts';
import { checkArchiveId } from './archives.ts';

const LEVEL_MAX = 19;

export async function createBackup(desk: JobDesk, request: CreateBackupRequest): Promise<CreateBackupResponse> {
  const { id, kind, keyspaces, archive, parent, bytesPerSecond, offline, compressionLevel } = request;
  const isIncremental = kind === ArchiveKind.ARCHIVE_KIND_INCREMENTAL;
  if (!isIncremental && kind !== ArchiveKind.ARCHIVE_KIND_FULL && kind !== ArchiveKind.ARCHIVE_KIND_UNSPECIFIED) throw invalidArgument('kind', 'must be FULL or INCREMENTAL');
  if (archive !== '') checkArchiveId('archive', archive);
  if (parent !== '') checkArchiveId('parent', parent);
  if (parent !== '' && !isIncremental) throw invalidArgument('parent', 'belongs to an INCREMENTAL');
  checkKeyspaceNames('keyspaces', keyspaces);
  desk.requireKeyspaces('keyspaces', keyspaces);
  if (compressionLevel !== undefined && compressionLevel > LEVEL_MAX) throw invalidArgument('compression_level', `must be 0 to ${LEVEL_MAX}`);
  const ask: BackupAsk = { kind: isIncremental ? 'INCREMENTAL' : 'FULL', parent, bytesPerSecond, offline, compressionLevel };
  const named = archive === '' ? archiveName(ask.kind, new Date()) : archive;
  return { job: toBackupJob(await desk.submit({ kind: 'BACKUP', id, archive: named, keyspaces, ask: { ...ask } })) };
}

/** `full-20261122-101500-3fa8`: in time order, and unique. */
function archiveName(kind: BackupAsk['kind'], at: Date): string {
  const stamp = at.toISOString().replaceAll(/[-:]/g, '').replace('T', '-').slice(0, 15);
  return `${kind === 'FULL' ? 'full' : 'incr'}-${stamp}-${randomBytes(2).toString('hex')}`;
}

import { ArchiveKind as ArchiveKindMessage, BackupJobKind, BackupJobState, type ArchiveInfo, type BackupJob, type BackupResult, type DrillResult, type RestoreResult, type VerifyResult } from '@atoll/contracts/atoll/v1/backup';
import { totalsOf, type Manifest } from '@atoll/core-archive';
import { parseTraceparent } from '@atoll/platform-telemetry';
import type { JobNotes, JobRecord } from './job-record.ts';

export function toBackupJob({ kind, state, createdMs, startedMs, endedMs, figures, traceparent, result, ...job }: JobRecord): BackupJob {
  return {
    id: job.id,
    kind: BackupJobKind[`BACKUP_JOB_KIND_${kind}`],
    state: BackupJobState[`BACKUP_JOB_STATE_${state}`],
    phase: job.phase,
    archive: job.archive,
    keyspaces: [...job.keyspaces],
    createdAtMs: createdMs,
    startedAtMs: startedMs,
    endedAtMs: endedMs,
    progress: {
      bytesDone: Math.round(figures.bytesDone),
      bytesTotal: Math.round(figures.bytesTotal),
      entries: figures.entries,
      partitionsDone: figures.partitionsDone,
      partitionsTotal: figures.partitionsTotal,
      bytesPerSecond: Math.round(figures.bytesPerSecond),
      remainingMs: figures.remainingMs,
    },
    problem: job.problem,
    traceId: parseTraceparent(traceparent)?.traceId ?? '',
    summary: job.summary,
    takeUps: job.takeUps,
    result: result === undefined ? undefined : RESULTS[kind]?.(result),
  };
}

/** By kind: what its `JobOutcome.result` is in a message. */
const RESULTS: Partial<Record<JobRecord['kind'], (result: JobNotes) => BackupJob['result']>> = {
  BACKUP: (result) => ({ $case: 'backup', value: result as unknown as BackupResult }),
  RESTORE: (result) => ({ $case: 'restore', value: result as unknown as RestoreResult }),
  VERIFY: (result) => ({ $case: 'verify', value: result as unknown as VerifyResult }),
  DRILL: (result) => ({ $case: 'drill', value: result as unknown as DrillResult }),
};

export function toArchiveInfo(manifest: Manifest): ArchiveInfo {
  const { id, kind, clusterId, parent, writtenBy, startedAtMs, finishedAtMs, keyId, barriers } = manifest;
  const totals = totalsOf(manifest);
  return {
    id,
    kind: ArchiveKindMessage[`ARCHIVE_KIND_${kind}`],
    parent: parent ?? '',
    cutAtMs: Math.round(barriers.at(-1)?.atMs ?? finishedAtMs),
    startedAtMs: Math.round(startedAtMs),
    finishedAtMs: Math.round(finishedAtMs),
    clusterId,
    writtenBy,
    keyId: keyId ?? '',
    chunks: totals.chunks,
    entries: totals.entries,
    contentBytes: totals.contentBytes,
    storedBytes: totals.storedBytes,
    keyspaces: manifest.keyspaces.map((keyspace) => {
      const own = totalsOf({ keyspaces: [keyspace] });
      const entries = keyspace.ranges.reduce((sum, { digest, versions }) => sum + ((digest ?? versions)?.entries ?? 0), 0);
      return { name: keyspace.name, partitions: keyspace.partitionCount, entries, contentBytes: own.contentBytes, storedBytes: own.storedBytes };
    }),
    problem: '',
  };
}

/** One whose manifest cannot be read. */
export function toUnreadableArchive(id: string, problem: string): ArchiveInfo {
  const empty = { kind: ArchiveKindMessage.ARCHIVE_KIND_UNSPECIFIED, parent: '', cutAtMs: 0, startedAtMs: 0, finishedAtMs: 0, clusterId: '', writtenBy: '', keyId: '' };
  return { id, ...empty, chunks: 0, entries: 0, contentBytes: 0, storedBytes: 0, keyspaces: [], problem };
}

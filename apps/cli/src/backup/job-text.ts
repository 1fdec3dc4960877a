// Jobs and archives as people read them, and as programs do: with --json every field is there, enums by name without prefix.
import { BackupJobState, archiveKindToJSON, backupJobKindToJSON, backupJobStateToJSON, type ArchiveDamage, type ArchiveInfo, type BackupJob } from '@atoll/contracts/atoll/v1/backup';
import { bar } from '../output/bar.ts';
import { bytesText, durationText, timeText } from '../output/quantities.ts';
import { renderTable } from '../output/table.ts';

const BAR_WIDTH = 30;

export const stateName = ({ state }: BackupJob): string => backupJobStateToJSON(state).replace('BACKUP_JOB_STATE_', '');
export const kindName = ({ kind }: BackupJob): string => backupJobKindToJSON(kind).replace('BACKUP_JOB_KIND_', '');
const archiveKindName = ({ kind }: ArchiveInfo): string => archiveKindToJSON(kind).replace('ARCHIVE_KIND_', '');

export const hasEnded = ({ state }: BackupJob): boolean =>
  state === BackupJobState.BACKUP_JOB_STATE_SUCCEEDED || state === BackupJobState.BACKUP_JOB_STATE_FAILED || state === BackupJobState.BACKUP_JOB_STATE_CANCELLED;

export function jobJson(job: BackupJob): Record<string, unknown> {
  const { result } = job;
  return {
    ...job,
    kind: kindName(job),
    state: stateName(job),
    progress: { ...job.progress, remainingMs: job.progress?.remainingMs ?? null },
    result: result === undefined ? null : { kind: result.$case.toUpperCase(), ...result.value, ...(result.$case === 'backup' && result.value.archive !== undefined && { archive: archiveJson(result.value.archive) }) },
  };
}

export const archiveJson = (archive: ArchiveInfo): Record<string, unknown> => ({ ...archive, kind: archiveKindName(archive) });

export function jobsTable(jobs: readonly BackupJob[], nowMs: number): string {
  const columns = [{ heading: 'JOB' }, { heading: 'KIND' }, { heading: 'STATE' }, { heading: 'PHASE' }, { heading: 'ARCHIVE' }, { heading: 'PARTITIONS', numeric: true }, { heading: 'BYTES', numeric: true }, { heading: 'BEGAN' }, { heading: 'TOOK', numeric: true }, { heading: 'PROBLEM' }];
  const rows = jobs.map((job) => [job.id, kindName(job), stateName(job), job.phase || '-', job.archive || '-', partitionsText(job), bytesText(job.progress?.bytesDone ?? 0), timeText(job.startedAtMs), durationText(ageMs(job, nowMs)), job.problem]);
  return renderTable(columns, rows);
}

/** One job as lines of a name and a value. */
export function jobText(job: BackupJob, nowMs: number): string {
  const { progress } = job;
  const rows: [string, string][] = [
    ['job', job.id],
    ['kind', kindName(job)],
    ['state', `${stateName(job)}${job.phase === '' ? '' : `, ${job.phase}`}`],
    ...(job.archive === '' ? [] : [['archive', job.archive] as [string, string]]),
    ['keyspaces', job.keyspaces.join(', ') || 'all'],
    ['partitions', partitionsText(job)],
    ['done', `${bytesText(progress?.bytesDone ?? 0)}, ${progress?.entries ?? 0} entries`],
    ['began', timeText(job.startedAtMs)],
    [hasEnded(job) ? 'took' : 'runs for', durationText(ageMs(job, nowMs))],
    ...(job.takeUps === 0 ? [] : [['taken up', `${job.takeUps} times`] as [string, string]]),
    ...(job.summary === '' ? [] : [['result', job.summary] as [string, string]]),
    ...(job.result?.$case !== 'backup' ? [] : [['writes waited', `${job.result.value.holdMsMax} ms for the cut, of ${job.result.value.cutAttempts} attempts`] as [string, string]]),
    ...damageLines(job).map((text): [string, string] => ['damage', text]),
    ...(job.traceId === '' ? [] : [['trace', job.traceId] as [string, string]]),
    ...(job.problem === '' ? [] : [['problem', job.problem] as [string, string]]),
  ];
  return lines(rows);
}

/** What a check found, one line each. */
export function damageLines({ result }: BackupJob): string[] {
  if (result?.$case !== 'verify') return [];
  const { damages, damagesTotal } = result.value;
  const lineOf = ({ archive, keyspace, partition, chunk, damage, problem }: ArchiveDamage): string =>
    `${damage} ${[archive, keyspace, partition === undefined ? '' : `partition ${partition}`, chunk === '' ? '' : `chunk ${chunk}`].filter((text) => text !== '').join(', ')}: ${problem}`;
  return [...damages.map(lineOf), ...(damagesTotal > damages.length ? [`and ${damagesTotal - damages.length} more`] : [])];
}

/** `[####....  42%  COPY  12 of 64 partitions  1.2 GiB of 2.9 GiB  80.0 MiB/s  21s left`. */
export function progressLine(job: BackupJob): string {
  const { bytesDone = 0, bytesTotal = 0, bytesPerSecond = 0, remainingMs } = job.progress ?? {};
  const share = hasEnded(job) && job.state === BackupJobState.BACKUP_JOB_STATE_SUCCEEDED ? 1 : bytesTotal > 0 ? Math.min(bytesDone / bytesTotal, 1) : 0;
  return [
    `${bar(share, BAR_WIDTH)} ${`${Math.floor(share * 100)}%`.padStart(4)}`,
    job.phase || stateName(job),
    `${partitionsText(job)} partitions`,
    bytesTotal > bytesDone ? `${bytesText(bytesDone)} of ${bytesText(bytesTotal)}` : bytesText(bytesDone),
    ...(bytesPerSecond > 0 ? [`${bytesText(bytesPerSecond)}/s`] : []),
    ...(remainingMs !== undefined && !hasEnded(job) ? [`${durationText(remainingMs)} left`] : []),
  ].join('  ');
}

export function archivesTable(archives: readonly ArchiveInfo[]): string {
  const columns = [{ heading: 'ARCHIVE' }, { heading: 'KIND' }, { heading: 'CUT' }, { heading: 'KEYSPACES' }, { heading: 'ENTRIES', numeric: true }, { heading: 'CONTENT', numeric: true }, { heading: 'STORED', numeric: true }, { heading: 'PARENT' }, { heading: 'KEY' }, { heading: 'PROBLEM' }];
  const rows = archives.map((archive) => [
    archive.id,
    archive.problem === '' ? archiveKindName(archive) : '-',
    timeText(archive.cutAtMs),
    archive.keyspaces.map(({ name }) => name).join(',') || '-',
    archive.entries,
    bytesText(archive.contentBytes),
    bytesText(archive.storedBytes),
    archive.parent || '-',
    archive.keyId || '-',
    archive.problem,
  ]);
  return renderTable(columns, rows);
}

export function archiveText(archive: ArchiveInfo, chain: readonly string[]): string {
  const rows: [string, string][] = [
    ['archive', archive.id],
    ['kind', archiveKindName(archive)],
    ...(archive.parent === '' ? [] : [['goes on from', archive.parent] as [string, string], ['needs', chain.join(', ')] as [string, string]]),
    ['cut', timeText(archive.cutAtMs)],
    ['made', `${timeText(archive.startedAtMs)} to ${timeText(archive.finishedAtMs)}, by Atoll ${archive.writtenBy}, of cluster ${archive.clusterId}`],
    ['key', archive.keyId || 'not encrypted'],
    ['chunks', `${archive.chunks}, ${bytesText(archive.storedBytes)} for ${bytesText(archive.contentBytes)} of keys and values in ${archive.entries} entries`],
  ];
  const columns = [{ heading: 'KEYSPACE' }, { heading: 'PARTITIONS', numeric: true }, { heading: 'ENTRIES AT THE CUT', numeric: true }, { heading: 'CONTENT', numeric: true }, { heading: 'STORED', numeric: true }];
  const keyspaces = archive.keyspaces.map(({ name, partitions, entries, contentBytes, storedBytes }) => [name, partitions, entries, bytesText(contentBytes), bytesText(storedBytes)]);
  return `${lines(rows)}\n\n${renderTable(columns, keyspaces)}`;
}

const lines = (rows: readonly (readonly [string, string])[]): string => rows.map(([name, value]) => `${name.padEnd(16)}${value}`).join('\n');
const partitionsText = ({ progress }: BackupJob): string => `${progress?.partitionsDone ?? 0} of ${progress?.partitionsTotal ?? 0}`;
const ageMs = ({ startedAtMs, endedAtMs }: BackupJob, nowMs: number): number => (startedAtMs === 0 ? 0 : (endedAtMs || nowMs) - startedAtMs);

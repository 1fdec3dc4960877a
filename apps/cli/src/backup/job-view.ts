import { BackupJobKind, BackupJobState, type ArchiveDamage, type BackupJob } from '@atoll/contracts/atoll/v1/backup';
import { bar } from '../output/bar.ts';
import { bytesText, durationText } from '../output/quantities.ts';

const BAR_WIDTH = 30;

/** A newer service may send a number that this program does not know. */
const nameIn = (words: Readonly<Record<string, number>>, value: number): string => Object.keys(words).find((word) => words[word] === value)?.replace(/^BACKUP_JOB_(STATE|KIND)_/, '') ?? String(value);

export const jobStateName = (state: BackupJobState): string => nameIn(BackupJobState, state);
export const jobKindName = (kind: BackupJobKind): string => nameIn(BackupJobKind, kind);

const ENDED: readonly BackupJobState[] = [BackupJobState.BACKUP_JOB_STATE_SUCCEEDED, BackupJobState.BACKUP_JOB_STATE_FAILED, BackupJobState.BACKUP_JOB_STATE_CANCELLED];
export const hasJobEnded = ({ state }: BackupJob): boolean => ENDED.includes(state);

/** One line. */
export function jobLine({ id, state, phase, progress, problem }: BackupJob): string {
  const { bytesDone = 0, bytesTotal = 0, entries = 0, partitionsDone = 0, partitionsTotal = 0, bytesPerSecond = 0, remainingMs } = progress ?? {};
  const facts = [
    ...(partitionsTotal > 0 ? [`${partitionsDone} of ${partitionsTotal} partitions`] : []),
    ...(bytesTotal > 0 ? [`${bytesText(bytesDone)} of ${bytesText(bytesTotal)}`] : []),
    ...(entries > 0 ? [`${entries} entries`] : []),
    ...(bytesPerSecond > 0 ? [`${bytesText(bytesPerSecond)}/s`] : []),
    ...(remainingMs === undefined ? [] : [`${durationText(remainingMs)} left`]),
  ];
  return `${id} ${jobStateName(state)}${phase === '' ? '' : ` ${phase}`}${facts.length === 0 ? '' : `: ${facts.join(', ')}`}${problem === '' ? '' : `; ${problem}`}`;
}

/** For a terminal: a bar below the line. */
export function jobLines(job: BackupJob): string[] {
  const { bytesDone = 0, bytesTotal = 0 } = job.progress ?? {};
  return [jobLine(job), bar(bytesTotal === 0 ? 0 : Math.min(1, bytesDone / bytesTotal), BAR_WIDTH)];
}

/** How it ended, and what a check found. */
export function endLines(job: BackupJob): string[] {
  const tookMs = job.startedAtMs === 0 ? 0 : job.endedAtMs - job.startedAtMs;
  const end = `${job.id} ${jobStateName(job.state)} in ${durationText(tookMs)}${job.summary === '' ? '' : `: ${job.summary}`}`;
  if (job.result?.$case !== 'verify') return [end];
  const { damages, damagesTotal } = job.result.value;
  return [end, ...damages.map(damageLine), ...(damagesTotal > damages.length ? [`and ${damagesTotal - damages.length} more`] : [])];
}

const damageLine = ({ archive, keyspace, partition, chunk, damage, problem }: ArchiveDamage): string =>
  `${damage} ${[archive, keyspace, partition === undefined ? '' : `partition ${partition}`, chunk === '' ? '' : `chunk ${chunk}`].filter((text) => text !== '').join(', ')}: ${problem}`;

/** For programs: enums by their names. */
export function jobJson(job: BackupJob): Record<string, unknown> {
  const { kind, state, result, ...rest } = job;
  return { ...rest, kind: jobKindName(kind), state: jobStateName(state), ...(result !== undefined && { result: result.value }) };
}

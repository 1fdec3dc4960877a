import { MigrationStep, type Migration, type PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import { bar } from '../output/bar.ts';
import { bytesText, durationText } from '../output/quantities.ts';
import type { MigrationProgress } from './migration-progress.ts';
import { isUnderWay, partitionName, stateName, stepName } from './migration-states.ts';

const BAR_WIDTH = 20;

/**
 * A migration as it is drawn on a terminal: the job, a bar for the whole, a bar for each partition under way. At most
 * `rows` lines: what does not fit is summed up in the last one.
 */
export function progressLines(progress: MigrationProgress, nowMs: number, rows: number, notice = ''): string[] {
  const { migration } = progress;
  if (migration === undefined) return notice === '' ? [] : [notice];
  const head = [`${migration.id} ${stateName(migration.state)}${migration.description === '' ? '' : `: ${migration.description}`}${migration.shards > 1 ? `, by ${migration.shards} streams a partition` : ''}`, totalLine(progress, nowMs)];
  const remarks = [migration.problem, notice].filter((text) => text !== '');
  const underWay = progress.partitions.filter(isUnderWay);
  const shownMax = Math.max(rows - head.length - remarks.length - 1, 0);
  const shown = underWay.slice(0, shownMax);
  const nameWidth = Math.max(0, ...shown.map((partition) => partitionName(partition).length));
  const rest = restLine(progress.partitions, underWay.length - shown.length);
  return [...head, ...remarks, ...shown.map((partition) => partitionLine(progress, partition, nameWidth, nowMs)), ...(rest === '' ? [] : [rest])].slice(0, rows);
}

/** One line of where a migration is, for logs. */
export function progressText(progress: MigrationProgress, nowMs: number): string {
  const { migration } = progress;
  return migration === undefined ? '' : [`${migration.id} ${stateName(migration.state)}`, ...totals(migration, progress, nowMs)].join(', ');
}

function totalLine(progress: MigrationProgress, nowMs: number): string {
  const { migration, share } = progress;
  return [`${bar(share, BAR_WIDTH)} ${percent(share)}`, ...(migration === undefined ? [] : totals(migration, progress, nowMs))].join('  ');
}

function totals(migration: Migration, progress: MigrationProgress, nowMs: number): string[] {
  const { partitionsDone, partitionsTotal, partitionsRolledBack, bytes } = migration;
  return [
    `${partitionsDone} of ${partitionsTotal} partitions done`,
    ...(partitionsRolledBack > 0 ? [`${partitionsRolledBack} rolled back`] : []),
    bytesText(bytes),
    ...pace(progress.bytesPerSecond, progress.remainingMs(nowMs)),
  ];
}

function partitionLine(progress: MigrationProgress, partition: PartitionMigration, nameWidth: number, nowMs: number): string {
  const { bytesPerSecond, remainingMs } = progress.paceOf(partition, nowMs);
  const bytes = partition.bytesTotal > 0 ? `${bytesText(partition.bytes)} of ${bytesText(partition.bytesTotal)}` : bytesText(partition.bytes);
  const isCopied = partition.step === MigrationStep.MIGRATION_STEP_CATCH_UP;
  return [
    `${bar(partition.progress, BAR_WIDTH)} ${percent(partition.progress)}`,
    partitionName(partition).padEnd(nameWidth),
    stepName(partition.step).padEnd('ROLL_BACK'.length),
    bytes,
    ...(isCopied ? pace(bytesPerSecond, remainingMs) : []),
    ...(partition.problem === '' ? [] : [partition.problem]),
  ].join('  ');
}

function pace(bytesPerSecond: number, remainingMs: number | undefined): string[] {
  if (bytesPerSecond < 1) return [];
  return [`${bytesText(bytesPerSecond)}/s`, ...(remainingMs === undefined ? [] : [`${durationText(remainingMs)} left`])];
}

/** `3 more under way, 20 waiting, 9 done, 1 rolled back`; empty when every partition is drawn. */
function restLine(partitions: readonly PartitionMigration[], hidden: number): string {
  const inStep = (step: MigrationStep): number => partitions.filter((partition) => partition.step === step).length;
  const counts: [number, string][] = [
    [hidden, 'more under way'],
    [inStep(MigrationStep.MIGRATION_STEP_WAITING), 'waiting'],
    [inStep(MigrationStep.MIGRATION_STEP_DONE), 'done'],
    [inStep(MigrationStep.MIGRATION_STEP_ROLLED_BACK), 'rolled back'],
  ];
  return counts
    .filter(([count]) => count > 0)
    .map(([count, what]) => `${count} ${what}`)
    .join(', ');
}

const percent = (share: number): string => `${Math.floor(Math.min(Math.max(share, 0), 1) * 100)}%`.padStart(4);

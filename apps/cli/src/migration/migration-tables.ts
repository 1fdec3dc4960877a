// Migrations as people read them, and as programs do: with --json every field is there, enums by name without prefix.
import { MigrationStep, migrationMethodToJSON, type CopyState, type Migration, type MigrationProof, type PartitionMigration, type PlannedMove, type RefusedMove, type WatchMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { tokenRangeText, tokenText } from '../commands/options.ts';
import { bytesText, durationText, timeText } from '../output/quantities.ts';
import { renderTable } from '../output/table.ts';
import { hasEnded, stateName, stepName } from './migration-states.ts';

export function migrationJson(migration: Migration): Record<string, unknown> {
  return { ...migration, method: methodName(migration), state: stateName(migration.state), copy: migration.copy === undefined ? null : copyJson(migration.copy) };
}

const copyJson = (copy: CopyState): Record<string, unknown> => ({ ...copy, lagSeq: copy.lagSeq ?? null, lagMs: copy.lagMs ?? null, comparedEntries: copy.comparedEntries ?? null, tokenFrom: tokenText(copy.tokenFrom), tokenTo: copy.tokenTo === 0n ? null : tokenText(copy.tokenTo) });

export function partitionMigrationJson(partition: PartitionMigration): Record<string, unknown> {
  return { ...partition, step: stepName(partition.step), proof: partition.proof ?? null, pauseMs: partition.pauseMs ?? null, lagSeq: partition.lagSeq ?? null, lagMs: partition.lagMs ?? null };
}

export function watchJson({ migration, partitions, bytesPerSecond, remainingMs }: WatchMigrationResponse): Record<string, unknown> {
  return { migration: migration === undefined ? null : migrationJson(migration), partitions: partitions.map(partitionMigrationJson), bytesPerSecond, remainingMs: remainingMs ?? null };
}

const methodName = ({ method }: Migration): string => migrationMethodToJSON(method).replace('MIGRATION_METHOD_', '');

/** `MOVE`, `SHARDED x8`; `MOVE (auto)` where nobody asked for it. */
function methodText(migration: Migration): string {
  const shards = migration.shards > 1 ? ` x${migration.shards}` : '';
  return `${methodName(migration)}${shards}${migration.methodReason === '' ? '' : ' (auto)'}`;
}

/** One migration a line, as `atoll migrate list` shows them. */
export function migrationsTable(migrations: readonly Migration[], nowMs: number): string {
  const columns = [
    { heading: 'MIGRATION' },
    { heading: 'STATE' },
    { heading: 'METHOD' },
    { heading: 'REASON' },
    { heading: 'DONE', numeric: true },
    { heading: 'ROLLED BACK', numeric: true },
    { heading: 'BYTES', numeric: true },
    { heading: 'PAUSE', numeric: true },
    { heading: 'BEGAN' },
    { heading: 'TOOK', numeric: true },
    { heading: 'DESCRIPTION' },
    { heading: 'PROBLEM' },
  ];
  const row = (migration: Migration): (string | number)[] => [
    migration.id,
    stateName(migration.state),
    methodText(migration),
    migration.reason,
    `${migration.partitionsDone}/${migration.partitionsTotal}`,
    migration.partitionsRolledBack,
    bytesText(migration.bytes),
    pauseText(migration.pauseMsMax || undefined),
    timeText(migration.createdAtMs),
    durationText(ageMs(migration, nowMs)),
    migration.description,
    migration.problem,
  ];
  return renderTable(columns, migrations.map(row));
}

/** One migration as lines of a name and a value. */
export function migrationText(migration: Migration, nowMs: number): string {
  const { partitionsDone, partitionsTotal, partitionsRolledBack, bytesPerSecond, traceId } = migration;
  const rows: [string, string][] = [
    ['migration', migration.id],
    ['state', stateName(migration.state)],
    ['what', [migration.reason, migration.description].filter(Boolean).join(': ')],
    ['method', methodText(migration)],
    ...(migration.methodReason === '' ? [] : [['chosen because', migration.methodReason.replace(/^[A-Z]+: /, '')] as [string, string]]),
    ...sourceRows(migration.copy),
    ...(migration.copy === undefined || (migration.copy.tokenFrom === 0n && migration.copy.tokenTo === 0n) ? [] : [['tokens', tokensText(migration.copy)] as [string, string]]),
    ...(migration.copy === undefined ? [] : [['lag', copyText(migration.copy)] as [string, string]]),
    ...(migration.copy === undefined ? [] : [['compared', comparedText(migration.copy)] as [string, string]]),
    ...(migration.copy === undefined || migration.copy.pausesMs.length === 0 ? [] : [['cut over', `${cutOverText(migration.copy)}; writes waited for ${pauseText(Math.min(...migration.copy.pausesMs))} to ${pauseText(Math.max(...migration.copy.pausesMs))}`] as [string, string]]),
    ['partitions', `${partitionsDone} of ${partitionsTotal} done${partitionsRolledBack > 0 ? `, ${partitionsRolledBack} rolled back` : ''}`],
    ['copied', `${bytesText(migration.bytes)}, ${migration.entries} entries`],
    ['bound', bytesPerSecond > 0 ? `${bytesText(bytesPerSecond)}/s` : 'that of the nodes'],
    ['comparison', migration.fullVerify ? 'each entry' : 'digests'],
    ['longest pause', pauseText(migration.pauseMsMax || undefined)],
    ['began', timeText(migration.createdAtMs)],
    [hasEnded(migration) ? 'took' : 'runs for', durationText(ageMs(migration, nowMs))],
    ...(traceId === '' ? [] : [['trace', traceId] as [string, string]]),
    ...(migration.problem === '' ? [] : [['problem', migration.problem] as [string, string]]),
  ];
  return rows.map(([name, value]) => `${name.padEnd(16)}${value}`).join('\n');
}

const tokensText = ({ tokenFrom: start, tokenTo: end }: CopyState): string => tokenRangeText(end === 0n ? { start } : { start, end });

/** `20000 entries, all equal`: source and target, by key, value and expiry. */
function comparedText({ comparedEntries, differing }: CopyState): string {
  if (comparedEntries === undefined) return 'not yet';
  return `${comparedEntries} entries, ${differing === 0 ? 'all equal' : `${differing} sub-ranges differ`}`;
}

/** `none`, `120 log entries, 1.5 s`: how far a copy is behind its source. */
export function copyText({ following, lagSeq, lagMs, restarts }: CopyState): string {
  const again = restarts > 0 ? `; ${restarts} partitions began anew` : '';
  if (lagSeq === undefined || lagMs === undefined) return `not known yet${again}`;
  if (!following) return `not whole yet${again}`;
  return `${lagSeq === 0 && lagMs === 0 ? 'none' : `${lagSeq} log entries, ${pauseText(lagMs)}`}${again}`;
}

/** Partitions of a job: how far each is. */
export function partitionsTable(partitions: readonly PartitionMigration[], nowMs: number): string {
  const isCopy = partitions.some(({ step, lagMs }) => step === MigrationStep.MIGRATION_STEP_FOLLOW || lagMs !== undefined);
  const columns = [
    { heading: 'KEYSPACE' },
    { heading: 'PARTITION', numeric: true },
    { heading: 'FROM' },
    { heading: 'TO' },
    { heading: 'STEP' },
    { heading: 'SINCE', numeric: true },
    { heading: 'PROGRESS', numeric: true },
    { heading: 'BYTES', numeric: true },
    { heading: 'ENTRIES', numeric: true },
    { heading: 'PROOF' },
    { heading: 'PAUSE', numeric: true },
    ...(isCopy ? [{ heading: 'LAG', numeric: true }] : []),
    { heading: 'PROBLEM' },
  ];
  const row = (partition: PartitionMigration): (string | number)[] => [
    partition.keyspace,
    partition.partition,
    partition.from.join(',') || '-',
    partition.to.join(',') || '-',
    stepName(partition.step),
    partition.stepSinceMs === 0 ? '-' : durationText(nowMs - partition.stepSinceMs),
    // An empty partition has nothing to copy, and is done all the same.
    partition.step === MigrationStep.MIGRATION_STEP_DONE ? '100%' : `${Math.floor(partition.progress * 100)}%`,
    bytesText(partition.bytes),
    partition.entries,
    proofText(partition.proof),
    pauseText(partition.pauseMs),
    ...(isCopy ? [pauseText(partition.lagMs)] : []),
    partition.problem,
  ];
  return renderTable(columns, partitions.map(row));
}

/** Partitions that a job would move, or begins with: what is to be copied. */
export function plannedPartitionsTable(partitions: readonly PartitionMigration[]): string {
  return plannedTable(partitions.map(({ keyspace, partition, from, to, reason, bytesTotal, entriesTotal, problem }) => [keyspace, partition, from.join(','), to.join(','), reason, bytesTotal, entriesTotal, problem]));
}

/** Moves that a rebalance would make, in their order. */
export function plannedMovesTable(moves: readonly PlannedMove[]): string {
  return plannedTable(moves.map(({ keyspace, partition, from, to, reason, bytes, entries }) => [keyspace, partition, from, to, reason, bytes, entries, '']));
}

export interface RefusedGroup {
  readonly refusal: string;
  readonly keyspace: string;
  /** `1, 5 to 7`. */
  readonly partitions: string;
  readonly count: number;
  readonly detail: string;
}

/** Refused moves with one cause as one, in the order of the first of each. */
export function refusedGroups(refused: readonly RefusedMove[]): readonly RefusedGroup[] {
  const groups = Map.groupBy(refused, ({ refusal, keyspace, detail }) => JSON.stringify([refusal, keyspace, detail]));
  return [...groups.values()].map((group) => {
    const { refusal, keyspace, detail } = group[0]!;
    const numbers = [...new Set(group.map(({ partition }) => partition))].sort((a, b) => a - b);
    return { refusal, keyspace, partitions: runsText(numbers), count: numbers.length, detail };
  });
}

/** As `atoll rebalance --dry-run` shows them: a line for each cause. */
export function refusedMovesTable(refused: readonly RefusedMove[]): string {
  const columns = [{ heading: 'REFUSED' }, { heading: 'KEYSPACE' }, { heading: 'COUNT', numeric: true }, { heading: 'PARTITIONS' }, { heading: 'WHY' }];
  return renderTable(columns, refusedGroups(refused).map(({ refusal, keyspace, count, partitions, detail }) => [refusal, keyspace, count, partitions, detail]));
}

/** Runs of numbers that are told one by one; the rest is in the answer with --json. */
const RUNS_SHOWN_MAX = 8;

/** `1, 5 to 7`: ascending numbers, each once. */
function runsText(numbers: readonly number[]): string {
  const runs: [first: number, last: number][] = [];
  for (const number of numbers) {
    const run = runs.at(-1);
    if (run !== undefined && run[1] === number - 1) run[1] = number;
    else runs.push([number, number]);
  }
  const shown = runs.slice(0, RUNS_SHOWN_MAX).map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`));
  return [...shown, ...(runs.length > RUNS_SHOWN_MAX ? ['...'] : [])].join(', ');
}

type PlannedRow = readonly [keyspace: string, partition: number, from: string, to: string, reason: string, bytes: number, entries: number, problem: string];

function plannedTable(rows: readonly PlannedRow[]): string {
  const columns = [
    { heading: 'KEYSPACE' },
    { heading: 'PARTITION', numeric: true },
    { heading: 'FROM' },
    { heading: 'TO' },
    { heading: 'REASON' },
    { heading: 'BYTES', numeric: true },
    { heading: 'ENTRIES', numeric: true },
    ...(rows.some((row) => row[7] !== '') ? [{ heading: 'PROBLEM' }] : []),
  ];
  return renderTable(columns, rows.map(([keyspace, partition, from, to, reason, bytes, entries, problem]) => [keyspace, partition, from || '-', to || '-', reason, bytesText(bytes), entries, problem]));
}

/** `1.5 ms`; `-` where there was none. */
export function pauseText(ms: number | undefined): string {
  if (ms === undefined) return '-';
  return `${ms >= 100 ? Math.round(ms) : Math.round(ms * 10) / 10} ms`;
}

/** `64 equal`, `62 equal, 2 repaired`: of 64 sub-ranges; with `, 40 entries read` where each entry was compared. */
function proofText(proof: MigrationProof | undefined): string {
  if (proof === undefined) return '-';
  const { equal, repaired, comparedEntries, differing } = proof;
  return `${equal} equal${repaired > 0 ? `, ${repaired} repaired` : ''}${differing > 0 ? `, ${differing} differ` : ''}${comparedEntries > 0 ? `, ${comparedEntries} entries read` : ''}`;
}


/** For how long it has run, or ran. */
const ageMs = ({ createdAtMs, endedAtMs }: Migration, nowMs: number): number => (createdAtMs === 0 ? 0 : (endedAtMs || nowMs) - createdAtMs);

function sourceRows(copy: CopyState | undefined): [string, string][] {
  if (copy === undefined || copy.sourceCluster === '') return [];
  const { sourceCluster, sourceRouters, sourceArchive } = copy;
  return sourceArchive === '' ? [['source cluster', `${sourceCluster}, by ${sourceRouters.join(', ')}`]] : [['archive', `${sourceArchive}, by the backup service ${sourceRouters.join(', ')}`]];
}

const cutOverText = ({ source, target, sourceCluster, sourceArchive, takesPlaceOf }: CopyState): string =>
  sourceArchive !== '' ? `${target} takes writes${takesPlaceOf === '' ? '' : `, and is ${takesPlaceOf}`}` : (sourceCluster === '' ? `${source} is ${target}` : `${target} has the place of ${source} of cluster ${sourceCluster}`);

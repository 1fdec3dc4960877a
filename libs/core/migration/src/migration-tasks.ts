// How migrations are written so that nothing is written twice, lost or half there, whatever becomes of an answer (R7):
// a refusal or a lost answer has everything read again, and what is found there decides whether it was written. Each
// task says what it wants done and is told how that went; the shell does it, one task at a time.
import { AtollError } from '@atoll/core-errors';
import type { MigrationJob } from './migration-job.ts';
import type { MigrationTable, MigrationWrite, OperatorChange } from './migration-table.ts';
import type { MigrationOperator } from './operator.ts';

/**
 * 'settle': writes the key `turn`, as the elected coordinator; true when it certainly was written, and the table told.
 * 'read': loads the table anew, or throws into the task. A write: true when it certainly was written, and noted in the
 * table; otherwise the table is told that it failed.
 */
export type MigrationTask<T> = Generator<'settle' | 'read' | MigrationWrite, T, boolean>;

/** Times that a write is tried whose outcome is unknown, each on what was read again (R7). */
const WRITES_MAX = 3;
/** Operators per transaction: each takes at most two of the 128 changes that etcd allows. */
export const OPERATORS_PER_TRANSACTION = 50;

/** Reads everything, unless what is known is current. */
export function* refreshMigrations(table: MigrationTable): MigrationTask<void> {
  if (table.isCurrent) return;
  for (let attempt = 1; table.isInDoubt && !(yield 'settle'); attempt += 1) {
    if (attempt === WRITES_MAX) throw new AtollError('METADATA_UNAVAILABLE', 'etcd does not say whether a write was carried out');
  }
  yield 'read';
}

/** What a new coordinator does first. A job that was being written when its coordinator stopped is taken back: nothing of it had begun. */
export function* takeOverMigrations(table: MigrationTable): MigrationTask<void> {
  yield* refreshMigrations(table);
  for (const { id, state } of table.jobs()) {
    if (state === 'PREPARING') yield* updateMigration(table, id, (job) => ({ ...job, state: 'CANCELLING', problem: 'its coordinator stopped before it began' }));
  }
}

/**
 * Writes a job and takes its partitions. Throws MIGRATION_CONFLICT when another job has one of them, or this id
 * stands for another job; METADATA_CONFLICT when it is not known, or not true, that it was written.
 */
export function* createMigration(table: MigrationTable, job: MigrationJob, operators: readonly MigrationOperator[], perTransaction = OPERATORS_PER_TRANSACTION): MigrationTask<void> {
  yield* refreshMigrations(table);
  checkFree(table, job, operators);
  const isOneWrite = operators.length <= perTransaction;
  const first: MigrationJob = { ...job, state: isOneWrite ? job.state : 'PREPARING' };
  yield* take(table, first, operators.slice(0, perTransaction));
  try {
    for (let start = perTransaction; start < operators.length; start += perTransaction) {
      const isLast = start + perTransaction >= operators.length;
      yield* take(table, isLast ? job : first, operators.slice(start, start + perTransaction));
    }
  } catch (error) {
    yield* takeBack(table, job.id);
    throw error;
  }
}

/** What was taken is given back; where this cannot be written, `settleMigrations` does it later, or the next coordinator. */
function* takeBack(table: MigrationTable, id: string): MigrationTask<void> {
  try {
    yield* updateMigration(table, id, (known) => (known.state === 'PREPARING' ? { ...known, state: 'CANCELLING', problem: 'it could not be written as a whole' } : known));
  } catch {
    // What is told is why it could not be begun.
  }
}

/** Writes some operators of a job that begins, once. */
function* take(table: MigrationTable, job: MigrationJob, operators: readonly MigrationOperator[]): MigrationTask<void> {
  for (let attempt = 1; ; attempt += 1) {
    const known = table.job(job.id);
    const isSame = known?.traceparent === job.traceparent && known.createdMs === job.createdMs && known.state === job.state;
    if (isSame && operators.every(({ keyspace, partition }) => table.operatorOf(keyspace, partition)?.job === job.id)) return;
    if (yield table.begin(operators, job)) return;
    if (attempt === WRITES_MAX) throw notKnownToBeWritten(`begin migration ${job.id}`);
    yield* refreshMigrations(table);
  }
}

/** Changes a job; `change` answers the same one where there is nothing to do. Throws MIGRATION_NOT_FOUND, METADATA_CONFLICT. */
export function* updateMigration(table: MigrationTable, id: string, change: (job: MigrationJob) => MigrationJob): MigrationTask<MigrationJob> {
  for (let attempt = 1; ; attempt += 1) {
    yield* refreshMigrations(table);
    const job = table.job(id);
    if (job === undefined) throw migrationNotFound(id);
    const next = change(job);
    if (next === job || (yield table.update(next))) return next;
    if (attempt === WRITES_MAX) throw notKnownToBeWritten(`change migration ${id}`);
  }
}

/** Writes what can be written; returns what certainly was. What was not is decided anew, on what is read again. */
export function* writeSteps(table: MigrationTable, changes: readonly OperatorChange[]): MigrationTask<readonly OperatorChange[]> {
  const written: OperatorChange[] = [];
  for (let start = 0; start < changes.length; start += OPERATORS_PER_TRANSACTION) {
    const batch = changes.slice(start, start + OPERATORS_PER_TRANSACTION);
    if (!(yield table.change(batch))) return written;
    written.push(...batch);
  }
  return written;
}

/**
 * Ends jobs none of whose operators is left; returns those that ended. One that is PREPARING is not being written now, since there is
 * one task at a time: it could be neither written as a whole nor taken back, and would hold its partitions for as long as this
 * coordinator is elected.
 */
export function* settleMigrations(table: MigrationTable, wallMs: number): MigrationTask<readonly MigrationJob[]> {
  for (const { id, state } of table.jobs()) if (state === 'PREPARING') yield* takeBack(table, id);
  const ended: MigrationJob[] = [];
  for (const job of table.settled(wallMs)) {
    if (!(yield table.update(job))) return ended;
    ended.push(job);
  }
  return ended;
}

function checkFree(table: MigrationTable, job: MigrationJob, operators: readonly MigrationOperator[]): void {
  if (table.job(job.id) !== undefined) throw new AtollError('MIGRATION_CONFLICT', `id: there is a migration ${job.id} already`, { metadata: { field: 'id', migration: job.id } });
  const taken = operators.flatMap(({ keyspace, partition }) => table.operatorOf(keyspace, partition) ?? []);
  if (taken.length === 0) return;
  const text = taken.slice(0, 5).map(({ keyspace, partition, job: other }) => `${keyspace}/${partition} (migration ${other})`).join(', ');
  throw new AtollError('MIGRATION_CONFLICT', `partitions: ${taken.length} of ${operators.length} are being migrated: ${text}`, { metadata: { field: 'partitions', migration: taken[0]!.job } });
}

const notKnownToBeWritten = (what: string): AtollError =>
  new AtollError('METADATA_CONFLICT', `${what}: it is not known whether this was written, or another coordinator was elected; look at the list of migrations`);

const migrationNotFound = (id: string): AtollError => new AtollError('MIGRATION_NOT_FOUND', `id: there is no migration ${id}`, { metadata: { field: 'id', migration: id } });

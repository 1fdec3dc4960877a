import type { StartMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { toMigration, toPartitionMigration } from '../migration/migration-messages.ts';
import type { TermOfOffice } from '../term-of-office.ts';

const ID = /^[A-Za-z0-9_-]{1,64}$/;

/** Throws INVALID_ARGUMENT for an id that cannot stand in a key; an empty one is made up. */
export function checkMigrationId(id: string): void {
  if (id !== '' && !ID.test(id)) throw invalidArgument('id', 'must be 1 to 64 characters of [A-Za-z0-9_-]');
}

/** Begins a job, unless the same request made it a moment ago. Throws as `begin`. */
export async function beginOnce(begin: () => Promise<void>): Promise<void> {
  try {
    await begin();
  } catch (error) {
    if (!isAtollError(error) || error.reason !== 'MIGRATION_CONFLICT' || error.metadata['field'] !== 'id') throw error;
  }
}

/** What stands in etcd by that id; an empty one names nothing. */
export async function existingMigration(term: TermOfOffice, id: string): Promise<Required<StartMigrationResponse> | undefined> {
  await term.migrations.store.refresh();
  await term.copies.store.refresh();
  return id === '' ? undefined : describeMigration(term, id);
}

/** The job with its partitions as they stand; undefined when there is none. */
export function describeMigration(term: TermOfOffice, id: string): Required<StartMigrationResponse> | undefined {
  const { store, transfers } = term.migrations;
  const job = store.job(id);
  if (job === undefined) return term.copies.describe(id);
  const running = store.operators().filter((operator) => operator.job === id);
  return {
    migration: toMigration(job, running.map((operator) => transfers.of(operator))),
    partitions: store.operatorsOf(id).map((operator) => toPartitionMigration(operator, transfers.of(operator))),
  };
}

/** Throws MIGRATION_NOT_FOUND, and INVALID_ARGUMENT for an empty id. */
export async function requireMigration(term: TermOfOffice, id: string): Promise<Required<StartMigrationResponse>> {
  if (id === '') throw invalidArgument('id', 'is missing');
  const found = await existingMigration(term, id);
  if (found === undefined) throw new AtollError('MIGRATION_NOT_FOUND', `id: there is no migration ${JSON.stringify(id.slice(0, 80))}`, { metadata: { field: 'id', migration: id.slice(0, 80) } });
  return found;
}

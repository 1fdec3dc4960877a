import type {
  CancelMigrationRequest,
  CancelMigrationResponse,
  GetMigrationRequest,
  GetMigrationResponse,
  ListMigrationsRequest,
  ListMigrationsResponse,
  PauseMigrationRequest,
  PauseMigrationResponse,
  ResumeMigrationRequest,
  ResumeMigrationResponse,
} from '@atoll/contracts/atoll/v1/migration';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { command, isEnded, type JobCommand } from '@atoll/core-migration';
import { requireElected, requireTerm, type AdminContext } from '../admin-context.ts';
import { toMigration } from '../migration/migration-messages.ts';
import { checkBytesPerSecond } from './bytes-per-second.ts';
import { requireMigration } from './known-migrations.ts';

const LIMIT_DEFAULT = 50;
const LIMIT_MAX = 200;

export async function getMigration(context: AdminContext, { id }: GetMigrationRequest): Promise<GetMigrationResponse> {
  return requireMigration(requireElected(context).term, id);
}

export async function listMigrations(context: AdminContext, { limit, active }: ListMigrationsRequest): Promise<ListMigrationsResponse> {
  if (limit > LIMIT_MAX) throw invalidArgument('limit', `must be at most ${LIMIT_MAX}`);
  const { migrations, copies } = requireElected(context).term;
  const { store, transfers } = migrations;
  await store.refresh();
  await copies.store.refresh();
  const jobs = store.jobs().filter((job) => !active || !isEnded(job));
  const running = Map.groupBy(store.operators(), ({ job }) => job);
  const moves = jobs.map((job) => toMigration(job, (running.get(job.id) ?? []).map((operator) => transfers.of(operator))));
  const copied = (active ? copies.store.active() : copies.store.jobs()).flatMap(({ id }) => copies.describe(id)?.migration ?? []);
  return { migrations: [...moves, ...copied].sort((a, b) => b.createdAtMs - a.createdAtMs).slice(0, limit || LIMIT_DEFAULT) };
}

export const pauseMigration = (context: AdminContext, { id }: PauseMigrationRequest): Promise<PauseMigrationResponse> => change(context, id, { kind: 'pause' });

export async function resumeMigration(context: AdminContext, { id, bytesPerSecond }: ResumeMigrationRequest): Promise<ResumeMigrationResponse> {
  if (bytesPerSecond !== undefined) checkBytesPerSecond(bytesPerSecond);
  return change(context, id, { kind: 'resume', bytesPerSecond });
}

export const cancelMigration = (context: AdminContext, { id }: CancelMigrationRequest): Promise<CancelMigrationResponse> => change(context, id, { kind: 'cancel' });

async function change(context: AdminContext, id: string, asked: JobCommand) {
  const { term } = requireTerm(context);
  await requireMigration(term, id);
  if (term.copies.store.job(id) !== undefined) await term.copies.command(id, asked);
  else await term.migrations.store.update(id, (job) => {
    const next = command(job, asked);
    if ('refusal' in next) throw new AtollError('MIGRATION_CONFLICT', `id: ${next.refusal}`, { metadata: { field: 'id', migration: id } });
    return next;
  });
  term.wake();
  return { migration: (await requireMigration(term, id)).migration };
}

import type { StartMigrationRequest, StartMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { planMove, type MigrationJob, type MigrationOperator, type PlannedMoves } from '@atoll/core-migration';
import { DEFAULT_KEYSPACE, randomHex, toNodeId } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { checkMethod, draftMigration, requireCapacity } from '../migration/begin-migration.ts';
import { toMigration, toPartitionMigration } from '../migration/migration-messages.ts';
import type { TermOfOffice } from '../term-of-office.ts';
import { requireSpec } from './drain-node.ts';
import { namedPartitions } from './named-partitions.ts';

const ID = /^[A-Za-z0-9_-]{1,64}$/;
const BYTES_PER_SECOND_MIN = 1024;

export async function startMigration(context: AdminContext, request: StartMigrationRequest): Promise<StartMigrationResponse> {
  const { view, term } = requireTerm(context);
  checkRequest(request);
  const known = await existingMigration(term, request.id);
  if (known !== undefined) return known;
  const { operators: planned, refusals } = plan(context, view, request);
  if (refusals.length > 0) throw invalidArgument('partitions', refusals.slice(0, 5).join('; '));
  if (planned.length === 0) throw invalidArgument('from', `${request.from} has no replica that could go to ${request.to}`);
  const survey = await term.migrations.survey();
  const ask = {
    id: request.id || `move-${randomHex(context.random, 8)}`,
    reason: 'REQUESTED',
    description: `move from ${request.from} to ${request.to}`,
    planned,
    method: term.migrations.planMethod(request, { planned, bytesPerSecond: request.bytesPerSecond }, survey),
    bytesPerSecond: request.bytesPerSecond,
    fullVerify: request.fullVerify,
  } as const;
  const { job, operators } = draftMigration(ask, survey, term.wallMs());
  requireCapacity(operators, survey);
  if (!request.dryRun) {
    await beginOnce(term, job, operators);
    const written = await existingMigration(term, job.id);
    if (written !== undefined) return written;
  }
  return { migration: toMigration(job, []), partitions: operators.map((operator) => toPartitionMigration(operator, { bytes: 0, entries: 0, progress: 0 })) };
}

/** Throws INVALID_ARGUMENT for an id that cannot stand in a key; an empty one is made up. */
export function checkMigrationId(id: string): void {
  if (id !== '' && !ID.test(id)) throw invalidArgument('id', 'must be 1 to 64 characters of [A-Za-z0-9_-]');
}

/** Throws INVALID_ARGUMENT for a bound that is none: 0 stands for that of the nodes. */
export function checkBytesPerSecond(value: number): void {
  if (value !== 0 && (value < BYTES_PER_SECOND_MIN || !Number.isSafeInteger(value))) throw invalidArgument('bytes_per_second', `must be 0 or a whole number of at least ${BYTES_PER_SECOND_MIN}`);
}

/** Begins a job, unless the same request made it a moment ago. Throws as TermMigrations.begin. */
export async function beginOnce(term: TermOfOffice, job: MigrationJob, operators: readonly MigrationOperator[]): Promise<void> {
  try {
    await term.migrations.begin(job, operators);
  } catch (error) {
    if (!isAtollError(error) || error.reason !== 'MIGRATION_CONFLICT' || error.metadata['field'] !== 'id') throw error;
  }
}

/** Throws INVALID_ARGUMENT that names the field. */
function checkRequest({ id, method, shards, from, to, bytesPerSecond, partitions, allKeyspaces, keyspace }: StartMigrationRequest): void {
  checkMigrationId(id);
  checkMethod({ method, shards });
  if (from !== '' && from === to) throw invalidArgument('to', `is the same node as from, ${from}`);
  checkBytesPerSecond(bytesPerSecond);
  if (allKeyspaces && (keyspace !== '' || partitions.length > 0)) throw invalidArgument('all_keyspaces', 'cannot stand beside keyspace or partitions');
}

function plan(context: AdminContext, view: ClusterView, request: StartMigrationRequest): PlannedMoves {
  const { partitions } = request;
  requireSpec(view, request.from, 'from');
  requireTarget(context, view, request.to);
  const names = request.allKeyspaces ? [...view.keyspaces().keys()] : [request.keyspace || DEFAULT_KEYSPACE];
  const records = names.flatMap((name) => namedPartitions(view, name, partitions));
  return planMove(records, { from: toNodeId(request.from), to: toNodeId(request.to), isNamed: partitions.length > 0 });
}

/** Throws NODE_NOT_FOUND, and INVALID_ARGUMENT for a node that cannot get replicas now. */
export function requireTarget(context: AdminContext, view: ClusterView, to: string): void {
  const target = requireSpec(view, to, 'to');
  if (target.state !== 'UP' || context.judge(target.id).state !== 'UP') throw invalidArgument('to', `${target.id} cannot get replicas: it is ${target.state === 'UP' ? context.judge(target.id).state : target.state}`);
}

/** What stands in etcd by that id; an empty one names nothing. */
export async function existingMigration(term: TermOfOffice, id: string): Promise<Required<StartMigrationResponse> | undefined> {
  await term.migrations.store.refresh();
  return id === '' ? undefined : describeMigration(term, id);
}

/** The job with its partitions as they stand; undefined when there is none. */
export function describeMigration(term: TermOfOffice, id: string): Required<StartMigrationResponse> | undefined {
  const { store, transfers } = term.migrations;
  const job = store.job(id);
  if (job === undefined) return undefined;
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

// Standbys of keyspaces of this very cluster, on another pool of its nodes.
import { StartMigrationRequest, MigrationMethod } from '@atoll/contracts/atoll/v1/migration';
import type { CreateStandbyRequest, PromoteStandbyRequest } from '@atoll/contracts/atoll/v1/standby';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { checkPoolName, keyspaceNotFound, poolOf, resolveKeyspace, type KeyspaceSpec } from '@atoll/core-membership';
import { hasCopyEnded, type CopyJob } from '@atoll/core-migration';
import { randomHex } from '@atoll/core-runtime';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { SURVEY_MS } from '../copy/standbys.ts';
import { startCopy } from './start-copy.ts';

/** Throws INVALID_ARGUMENT naming the field. Names of keyspaces as clients know them. */
export function keyspacesToStandBy(context: AdminContext, { pool, sourceRouters, keyspaces, all }: CreateStandbyRequest): readonly string[] {
  checkPoolName('pool', pool);
  if (sourceRouters.length > 0) throw invalidArgument('pool', 'cannot stand beside source_routers: it is for keyspaces of this cluster');
  if (all && keyspaces.length > 0) throw invalidArgument('keyspaces', 'cannot stand beside all');
  if (!all) return [...new Set(keyspaces)].sort();
  const { view } = requireTerm(context);
  return [...view.keyspaces().values()].filter((spec) => poolOf(spec) !== pool && spec.movedTo === undefined && spec.copyOf === undefined).map(({ name }) => name).sort();
}

/** The id of the job: a standby of it on that pool is left as it is. Throws as startCopy. */
export async function createPoolStandby(context: AdminContext, keyspace: string, { pool, replicationFactor, bytesPerSecond, resync }: CreateStandbyRequest): Promise<string> {
  const { term, view } = requireTerm(context);
  const primary = resolveKeyspace(view.keyspaces(), keyspace);
  if (primary === undefined) throw keyspaceNotFound(keyspace);
  const present = term.copies.standbys.jobs().find(({ sourceId, state, cluster }) => cluster === undefined && sourceId === primary.id && state !== 'SUCCEEDED');
  if (present !== undefined) {
    const itsPool = poolOf(view.keyspace(present.target) ?? {});
    if (itsPool === pool) return present.id;
    throw new AtollError('MIGRATION_CONFLICT', `keyspaces: ${keyspace} has a standby on pool ${itsPool} already`, { metadata: { field: 'keyspaces', keyspace, migration: present.id } });
  }
  if (poolOf(primary) === pool) throw invalidArgument('pool', `${keyspace} itself lies on pool ${pool}`);
  const id = `standby-${keyspace.slice(0, 40)}-${randomHex(context.random, 8)}`;
  const target = { name: standbyNameOf(primary, [...view.keyspaces().values()], { pool, resync }), replicationFactor, pool };
  const asked = StartMigrationRequest.fromPartial({ id, method: MigrationMethod.MIGRATION_METHOD_COPY, keyspace: primary.name, bytesPerSecond, target });
  await startCopy(context, asked, { isStandby: true, resyncs: resync });
  return id;
}

/** One whose place the primary has taken is named as it was. */
function standbyNameOf({ name }: KeyspaceSpec, keyspaces: readonly KeyspaceSpec[], { pool, resync }: { readonly pool: string; readonly resync: boolean }): string {
  const former = resync ? keyspaces.find((spec) => spec.movedTo === name && poolOf(spec) === pool) : undefined;
  return former?.name ?? `${name}-standby`;
}

/** WITH its primary, by a cut-over; without it AT_ONCE, or behind a FENCE. */
export type Way = 'WITH' | 'AT_ONCE' | 'FENCE';

/** How a standby is to be promoted. Throws INVALID_ARGUMENT naming the field, SOURCE_UNREACHABLE. */
export async function wayOfPromotion(context: AdminContext, job: CopyJob, { primaryIsStopped, withoutPrimary, acceptIncomplete }: PromoteStandbyRequest): Promise<Way> {
  const { pools } = requireTerm(context).term.copies.standbys;
  const pool = pools.primaryPool(job);
  if (primaryIsStopped !== '' && primaryIsStopped !== pool) throw invalidArgument('primary_is_stopped', `must be ${pool}, the pool that has the primary, not ${JSON.stringify(primaryIsStopped.slice(0, 80))}`);
  if (primaryIsStopped !== '' && withoutPrimary) throw invalidArgument('without_primary', 'cannot stand beside primary_is_stopped');
  if (acceptIncomplete && primaryIsStopped === '') throw invalidArgument('accept_incomplete', 'stands beside primary_is_stopped alone');
  const isWithout = primaryIsStopped !== '' || withoutPrimary;
  // What was begun is gone on with, or hurried.
  if (hasCopyEnded(job) || (pools.isFencing(job) && isWithout)) return primaryIsStopped === '' ? 'FENCE' : 'AT_ONCE';
  const isWhole = await pools.isWhole(job, SURVEY_MS);
  if (isWithout && isWhole) throw invalidArgument(withoutPrimary ? 'without_primary' : 'primary_is_stopped', `every partition of ${job.source} answers: promoted without that, nothing is lost`);
  if (isWithout) return withoutPrimary ? 'FENCE' : 'AT_ONCE';
  if (!isWhole && job.state !== 'CUTTING_OVER') {
    throw new AtollError('SOURCE_UNREACHABLE', `keyspace: not every partition of ${job.source} answers: with without_primary it is fenced, which may take a while, and what was not replicated is lost; at once if you say that its nodes are stopped, with primary_is_stopped = ${pool}`, { metadata: { field: 'without_primary', pool } });
  }
  return 'WITH';
}

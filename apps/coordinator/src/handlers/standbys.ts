import { setTimeout as pause } from 'node:timers/promises';
import { StartMigrationRequest, MigrationMethod } from '@atoll/contracts/atoll/v1/migration';
import type { CreateStandbyRequest, CreateStandbyResponse, FencePrimaryRequest, FencePrimaryResponse, ListStandbysRequest, ListStandbysResponse, PromoteStandbyRequest, PromoteStandbyResponse, RemoveStandbyRequest, RemoveStandbyResponse } from '@atoll/contracts/atoll/v1/standby';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { resolveKeyspace } from '@atoll/core-membership';
import { hasCopyEnded, type CopyJob } from '@atoll/core-migration';
import { DEFAULT_KEYSPACE, randomHex } from '@atoll/core-runtime';
import type { CallContext } from '@atoll/platform-grpc';
import { requireElected, requireTerm, type AdminContext } from '../admin-context.ts';
import { checkSourceRouters, listSources } from '../copy/source-cluster.ts';
import { waitForView } from '../wait-for-view.ts';
import { createPoolStandby, keyspacesToStandBy, wayOfPromotion } from './pool-standbys.ts';
import { startCopy } from './start-copy.ts';
import { WAIT_MS } from './wait-ms.ts';

const KEYSPACES_MAX = 256;
const DEFAULT_STANDBY = `${DEFAULT_KEYSPACE}-standby`;
const MAX_PAUSE_MS_DEFAULT = 2000;
const MAX_PAUSE_MS_MIN = 100;
const MAX_PAUSE_MS_MAX = 60_000;
const LOOK_MS = 20;
/** Left of the deadline for the answer. */
const ANSWER_MS = 100;

export async function createStandby(context: AdminContext, request: CreateStandbyRequest): Promise<CreateStandbyResponse> {
  const { term } = requireTerm(context);
  const names = await keyspacesOf(context, request);
  await term.copies.store.refresh();
  const ids: string[] = [];
  for (const name of names) ids.push(await (request.pool === '' ? create(context, name, request) : createPoolStandby(context, name, request)));
  return { standbys: ids.map((id) => term.copies.standbys.status(id)) };
}

/** The id of the job: one that follows the same primary already is left as it is. */
async function create(context: AdminContext, keyspace: string, { sourceRouters, replicationFactor, bytesPerSecond, resync }: CreateStandbyRequest): Promise<string> {
  const { term, view } = requireTerm(context);
  const name = (resync && resolveKeyspace(view.keyspaces(), keyspace)?.name) || nameOf(keyspace, resync);
  const present = term.copies.standbys.jobs().find(({ target, state }) => target === name && state !== 'SUCCEEDED');
  if (present !== undefined) {
    if (sourceRouters.some((router) => present.cluster?.routers.includes(router))) return present.id;
    throw new AtollError('MIGRATION_CONFLICT', `keyspaces: ${keyspace} is a standby of cluster ${present.cluster?.id ?? ''} already`, { metadata: { field: 'keyspaces', keyspace, migration: present.id } });
  }
  const id = `standby-${keyspace.slice(0, 40)}-${randomHex(context.random, 8)}`;
  const asked = StartMigrationRequest.fromPartial({ id, method: MigrationMethod.MIGRATION_METHOD_COPY, keyspace, sourceRouters, bytesPerSecond, target: { name, replicationFactor } });
  await startCopy(context, asked, { isStandby: true, resyncs: resync });
  return id;
}

/** `default` is there always: its standby has a name of its own, and takes the other one as an alias when it is promoted. */
const nameOf = (keyspace: string, resyncs: boolean): string => (keyspace === DEFAULT_KEYSPACE && !resyncs ? DEFAULT_STANDBY : keyspace);

/** Throws INVALID_ARGUMENT naming the field, and what routers say. */
async function keyspacesOf(context: AdminContext, request: CreateStandbyRequest): Promise<readonly string[]> {
  const { all, pool } = request;
  const names = pool === '' ? await keyspacesElsewhere(request) : keyspacesToStandBy(context, request);
  if (names.length === 0) throw invalidArgument(!all ? 'keyspaces' : pool === '' ? 'source_routers' : 'pool', !all ? 'is missing' : pool === '' ? 'have no keyspace that can be followed' : 'is that of all keyspaces');
  if (names.length > KEYSPACES_MAX) throw invalidArgument('keyspaces', `must be at most ${KEYSPACES_MAX}, not ${names.length}`);
  return names;
}

async function keyspacesElsewhere({ sourceRouters, keyspaces, all }: CreateStandbyRequest): Promise<readonly string[]> {
  if (sourceRouters.length === 0) throw invalidArgument('source_routers', 'is missing: a standby follows a keyspace of another cluster, or, with pool, one of this one');
  checkSourceRouters(sourceRouters);
  if (all && keyspaces.length > 0) throw invalidArgument('keyspaces', 'cannot stand beside all');
  return [...new Set(all ? await listSources(sourceRouters) : keyspaces)].sort();
}

export async function listStandbys(context: AdminContext, { keyspace }: ListStandbysRequest): Promise<ListStandbysResponse> {
  const { term } = requireTerm(context);
  await term.copies.store.refresh();
  const { standbys } = term.copies;
  const jobs = keyspace === '' ? standbys.jobs() : [standbys.require(keyspace)];
  return { standbys: jobs.map(({ id }) => standbys.status(id)) };
}

export async function promoteStandby(context: AdminContext, request: PromoteStandbyRequest, call: CallContext): Promise<PromoteStandbyResponse> {
  const { keyspace, maxPauseMs, primaryIsStopped, acceptIncomplete } = request;
  if (maxPauseMs !== 0 && (maxPauseMs < MAX_PAUSE_MS_MIN || maxPauseMs > MAX_PAUSE_MS_MAX)) throw invalidArgument('max_pause_ms', `must be 0 or ${MAX_PAUSE_MS_MIN} to ${MAX_PAUSE_MS_MAX}`);
  const { term } = requireTerm(context);
  await term.copies.store.refresh();
  const { standbys } = term.copies;
  const job = standbys.require(keyspace);
  if (job.cluster === undefined) return promoteWithin(context, job, request, call);
  checkStatement(job, request);
  if (job.state === 'SUCCEEDED') return { standby: standbys.status(job.id) };
  const { answers, isWhole } = await standbys.survey(job);
  if (primaryIsStopped === '') {
    if (!isWhole && job.state !== 'CUTTING_OVER') throw unreachable(job, answers);
    return promoteWithPrimary(context, job, maxPauseMs || MAX_PAUSE_MS_DEFAULT, call);
  }
  if (isWhole) throw invalidArgument('primary_is_stopped', `every partition of ${job.source} answers in cluster ${job.cluster.id}: promoted without that, nothing is lost`);
  const pairs = await standbys.promoteAlone(job, { acceptsIncomplete: acceptIncomplete, isThere: answers });
  await untilOpen(context, job, call);
  return { standby: standbys.status(job.id, pairs) };
}

/** A standby whose primary is on another pool of this cluster. */
async function promoteWithin(context: AdminContext, job: CopyJob, request: PromoteStandbyRequest, call: CallContext): Promise<PromoteStandbyResponse> {
  const { maxPauseMs, acceptIncomplete } = request;
  const way = await wayOfPromotion(context, job, request);
  const { term } = requireTerm(context);
  const { standbys } = term.copies;
  if (job.state === 'SUCCEEDED') return { standby: standbys.status(job.id) };
  if (way === 'WITH') return promoteWithPrimary(context, job, maxPauseMs || MAX_PAUSE_MS_DEFAULT, call);
  if (way === 'AT_ONCE') {
    const pairs = await standbys.promoteAlone(job, { acceptsIncomplete: acceptIncomplete });
    await untilOpen(context, job, call);
    return { standby: standbys.status(job.id, pairs) };
  }
  const refusal = await standbys.refusalOf(job);
  if (refusal !== undefined) throw refusal;
  await standbys.pools.begin(job);
  return untilPromoted(context, job.id, call, { timeoutMs: call.deadlineRemainingMs(WAIT_MS), isUnderWay: (present) => !hasCopyEnded(present) && present.state !== 'CANCELLING' });
}

function checkStatement({ cluster }: CopyJob, { primaryIsStopped, acceptIncomplete, withoutPrimary }: PromoteStandbyRequest): void {
  if (withoutPrimary) throw invalidArgument('without_primary', 'is for a primary in this cluster: that of another one cannot be fenced from here, and is stated to be stopped with primary_is_stopped');
  if (primaryIsStopped !== '' && primaryIsStopped !== cluster!.id) throw invalidArgument('primary_is_stopped', `must be ${cluster!.id}, the cluster that has the primary, not ${JSON.stringify(primaryIsStopped.slice(0, 80))}`);
  if (acceptIncomplete && primaryIsStopped === '') throw invalidArgument('accept_incomplete', 'stands beside primary_is_stopped alone');
}

function unreachable({ source, cluster }: CopyJob, answers: boolean): AtollError {
  const what = answers ? `not every partition of ${source} answers in cluster ${cluster!.id}` : `no router of cluster ${cluster!.id} answers`;
  return new AtollError('SOURCE_UNREACHABLE', `keyspace: ${what}: if nobody writes to it any more, say so with primary_is_stopped = ${cluster!.id}, and what was not replicated is lost`, { metadata: { field: 'primary_is_stopped', cluster: cluster!.id } });
}

/** Throws as TermCopies.cutOver. */
async function promoteWithPrimary(context: AdminContext, { id }: CopyJob, maxPauseMs: number, call: CallContext): Promise<PromoteStandbyResponse> {
  await requireTerm(context).term.copies.cutOver(id, maxPauseMs).catch((error: unknown) => {
    // Said of the other cluster: for the caller it would mean this coordinator.
    if (!isAtollError(error) || error.reason !== 'PEER_UNAVAILABLE') throw error;
    throw new AtollError('SOURCE_UNREACHABLE', error.message, { metadata: { field: 'keyspace' }, cause: error });
  });
  return untilPromoted(context, id, call, { timeoutMs: call.deadlineRemainingMs(maxPauseMs + WAIT_MS), isUnderWay: ({ state }) => state === 'CUTTING_OVER' });
}

async function untilPromoted(context: AdminContext, id: string, call: CallContext, { timeoutMs, isUnderWay }: { readonly timeoutMs: number; readonly isUnderWay: (job: CopyJob) => boolean }): Promise<PromoteStandbyResponse> {
  const untilMs = performance.now() + timeoutMs - ANSWER_MS;
  for (;;) {
    // Whoever was elected since knows how it ended, and is asked by the client.
    const { copies } = requireElected(context).term;
    const job = copies.store.job(id);
    if (job?.state === 'SUCCEEDED') await untilOpen(context, job, call);
    if (job === undefined || !isUnderWay(job) || performance.now() >= untilMs) return { standby: copies.standbys.status(id) };
    await pause(LOOK_MS, undefined, { signal: call.signal });
  }
}

/** The view shows that the keyspace takes writes: those of nodes and routers do so at about the same time. */
async function untilOpen(context: AdminContext, { target }: CopyJob, call: CallContext): Promise<void> {
  const { view } = requireTerm(context);
  await waitForView(view, () => view.keyspace(target)?.copyOf === undefined, { timeoutMs: call.deadlineRemainingMs(WAIT_MS) - ANSWER_MS, signal: call.signal, what: `${target} is promoted, which is not seen here yet` });
}

export async function fencePrimary(context: AdminContext, { keyspace }: FencePrimaryRequest): Promise<FencePrimaryResponse> {
  const { term } = requireTerm(context);
  await term.copies.store.refresh();
  const { standbys } = term.copies;
  const job = standbys.require(keyspace);
  if (job.state !== 'SUCCEEDED') throw new AtollError('MIGRATION_CONFLICT', `keyspace: ${keyspace} is not promoted, and its primary takes writes`, { metadata: { field: 'keyspace', keyspace, migration: job.id } });
  await standbys.fence(job);
  return { standby: standbys.status(job.id) };
}

export async function removeStandby(context: AdminContext, { keyspace }: RemoveStandbyRequest): Promise<RemoveStandbyResponse> {
  const { term } = requireTerm(context);
  await term.copies.store.refresh();
  const job = term.copies.standbys.require(keyspace);
  // What it took the place of would be of no use to anybody.
  if (job.state === 'SUCCEEDED' && job.cluster === undefined) await term.copies.store.update(job.id, (stored) => ({ ...stored, sourceRemains: true }));
  else await term.copies.command(job.id, { kind: 'cancel' });
  term.wake();
  return {};
}

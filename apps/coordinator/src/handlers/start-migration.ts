import { MigrationMethod, type StartMigrationRequest, type StartMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { invalidArgument } from '@atoll/core-errors';
import { poolOf, type PartitionRecord } from '@atoll/core-membership';
import { planMove, type MigrationJob, type MigrationOperator, type PlannedMoves } from '@atoll/core-migration';
import { contains, overlaps, tokenRangeOf } from '@atoll/core-placement';
import { DEFAULT_KEYSPACE, compareHash, randomHex, toNodeId, toPartitionId } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import { tokenRangeText } from '@atoll/platform-wire';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { checkMethod, draftMigration, requireCapacity } from '../migration/begin-migration.ts';
import { toMigration, toPartitionMigration } from '../migration/migration-messages.ts';
import type { TermOfOffice } from '../term-of-office.ts';
import { askedTokens } from './asked-tokens.ts';
import { checkBytesPerSecond } from './bytes-per-second.ts';
import { requireSpec } from './drain-node.ts';
import { beginOnce, checkMigrationId, existingMigration } from './known-migrations.ts';
import { namedPartitions } from './named-partitions.ts';
import { startCopy } from './start-copy.ts';

export async function startMigration(context: AdminContext, request: StartMigrationRequest): Promise<StartMigrationResponse> {
  if (request.method === MigrationMethod.MIGRATION_METHOD_COPY) return startCopy(context, request);
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
  return begun(term, { job, operators, dryRun: request.dryRun });
}

/** Begins a job and answers with it as it stands in etcd; a dry run with what it would be. Throws as TermMigrations.begin. */
export async function begun(
  term: TermOfOffice,
  { job, operators, dryRun }: { readonly job: MigrationJob; readonly operators: readonly MigrationOperator[]; readonly dryRun: boolean },
): Promise<Required<StartMigrationResponse>> {
  if (!dryRun) {
    await beginOnce(() => term.migrations.begin(job, operators));
    const written = await existingMigration(term, job.id);
    if (written !== undefined) return written;
  }
  return { migration: toMigration(job, []), partitions: operators.map((operator) => toPartitionMigration(operator, { bytes: 0, entries: 0, progress: 0 })) };
}

/** Throws INVALID_ARGUMENT that names the field. */
function checkRequest({ id, method, shards, from, to, bytesPerSecond, partitions, allKeyspaces, keyspace, target, sourceRouters, tokenFrom, tokenTo }: StartMigrationRequest): void {
  checkMigrationId(id);
  checkMethod({ method, shards });
  if (target !== undefined) throw invalidArgument('target', 'belongs to a COPY');
  if (sourceRouters.length > 0) throw invalidArgument('source_routers', 'belong to a COPY');
  if (from !== '' && from === to) throw invalidArgument('to', `is the same node as from, ${from}`);
  checkBytesPerSecond(bytesPerSecond);
  if ((tokenFrom !== 0n || tokenTo !== 0n) && (allKeyspaces || partitions.length > 0)) throw invalidArgument(tokenFrom === 0n ? 'token_to' : 'token_from', 'cannot stand beside partitions or all_keyspaces');
  if (allKeyspaces && (keyspace !== '' || partitions.length > 0)) throw invalidArgument('all_keyspaces', 'cannot stand beside keyspace or partitions');
}

function plan(context: AdminContext, view: ClusterView, request: StartMigrationRequest): PlannedMoves {
  const { partitions } = request;
  requireSpec(view, request.from, 'from');
  requireTarget(context, view, request.to);
  const names = request.allKeyspaces ? [...view.keyspaces().keys()] : [request.keyspace || DEFAULT_KEYSPACE];
  const records = names.flatMap((name) => namedPartitions(view, name, partitions));
  const moves = planMove(within(view, records, request), { from: toNodeId(request.from), to: toNodeId(request.to), isNamed: partitions.length > 0 });
  const pool = poolOf(view.nodeSpecs().get(request.to)!);
  const stranger = moves.operators.map(({ record }) => view.keyspace(record.keyspace)).find((spec) => spec !== undefined && poolOf(spec) !== pool);
  if (stranger !== undefined) throw invalidArgument('to', `${request.to} is of pool ${pool}, and keyspace ${stranger.name} of pool ${poolOf(stranger)}`);
  return moves;
}

/** Of one keyspace, the partitions that a range of tokens consists of. Throws INVALID_ARGUMENT for one that begins or ends inside of a partition, which moves as a whole. */
function within(view: ClusterView, records: readonly PartitionRecord[], request: StartMigrationRequest): readonly PartitionRecord[] {
  const range = askedTokens(request);
  if (range === undefined) return records;
  const { partitionCount } = view.keyspace(request.keyspace || DEFAULT_KEYSPACE)!;
  return records.filter(({ partition }) => {
    const own = tokenRangeOf(toPartitionId(partition), partitionCount);
    if (!overlaps(range, own)) return false;
    if (contains(range, own)) return true;
    const field = compareHash(own.start, range.start) < 0 ? 'token_from' : 'token_to';
    throw invalidArgument(field, `lies inside of partition ${partition}, which moves as a whole: its tokens are ${tokenRangeText(own)}`);
  });
}

/** Throws NODE_NOT_FOUND, and INVALID_ARGUMENT for a node that cannot get replicas now. */
export function requireTarget(context: AdminContext, view: ClusterView, to: string): void {
  const target = requireSpec(view, to, 'to');
  if (target.state !== 'UP' || context.judge(target.id).state !== 'UP') throw invalidArgument('to', `${target.id} cannot get replicas: it is ${target.state === 'UP' ? context.judge(target.id).state : target.state}`);
}

import type { PlanRebalanceRequest, PlanRebalanceResponse, PlannedMove, RebalanceRequest, RebalanceResponse } from '@atoll/contracts/atoll/v1/migration';
import { keyspaceNotFound } from '@atoll/core-membership';
import { findShortages, shortageText, sourcesOf, targetsOf, type PlannedOperator } from '@atoll/core-migration';
import { randomHex } from '@atoll/core-runtime';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { checkMethod, draftMigration, requireCapacity } from '../migration/begin-migration.ts';
import { sizeIn, type ClusterSurvey } from '../migration/cluster-survey.ts';
import type { TermOfOffice } from '../term-of-office.ts';
import { beginOnce, checkMigrationId, describeMigration, existingMigration } from './known-migrations.ts';

export async function planRebalance(context: AdminContext, { keyspace }: PlanRebalanceRequest): Promise<PlanRebalanceResponse> {
  const { term, names } = scope(context, keyspace);
  const { planned, refusals } = term.planRebalance(names);
  const survey = await term.migrations.survey();
  const moves = planned.map(({ record, before, after, reason }): PlannedMove => {
    const { bytes, entries } = sizeIn(survey, record);
    const targets = targetsOf({ before, after });
    return { keyspace: record.keyspace, partition: record.partition, from: sourcesOf({ before, after }).join(','), to: targets.join(','), reason, bytes: bytes * targets.length, entries: entries * targets.length };
  });
  const shortages = findShortages(planned, ({ record }) => sizeIn(survey, record).bytes, (node) => survey.memory.get(node));
  const bytes = moves.reduce((sum, move) => sum + move.bytes, 0);
  return { moves, bytes, estimatedMs: estimateMs(planned, survey), refusals: [...refusals, ...shortages.map(shortageText)] };
}

export async function rebalance(context: AdminContext, { keyspace, id, method, shards }: RebalanceRequest): Promise<RebalanceResponse> {
  const { term, names } = scope(context, keyspace);
  checkMigrationId(id);
  checkMethod({ method, shards });
  const known = await existingMigration(term, id);
  if (known !== undefined) return { migration: known.migration, refusals: [] };
  const { planned, refusals } = term.planRebalance(names);
  if (planned.length === 0) return { refusals: [...refusals] };
  const survey = await term.migrations.survey();
  const ask = { id: id || `rebalance-${randomHex(context.random, 8)}`, reason: 'REQUESTED', description: 'rebalance', planned, method: term.migrations.planMethod({ method, shards }, { planned, bytesPerSecond: 0 }, survey), bytesPerSecond: 0, fullVerify: false } as const;
  const { job, operators } = draftMigration(ask, survey, term.wallMs());
  requireCapacity(operators, survey);
  await beginOnce(() => term.migrations.begin(job, operators));
  return { migration: describeMigration(term, job.id)?.migration, refusals: [...refusals] };
}

/** From what each leader's node has to send, and its bound; 0 when nothing has a bound. */
function estimateMs(planned: readonly PlannedOperator[], survey: ClusterSurvey): number {
  const { sendBytesPerSecond } = survey;
  const toSend = new Map<string, number>();
  for (const { record, before, after } of planned) {
    const sender = record.leader?.node ?? '';
    const bytes = sizeIn(survey, record).bytes * targetsOf({ before, after }).length;
    toSend.set(sender, (toSend.get(sender) ?? 0) + bytes);
  }
  return Math.round(Math.max(0, ...[...toSend].map(([node, bytes]) => ((sendBytesPerSecond.get(node) ?? 0) > 0 ? (bytes / sendBytesPerSecond.get(node)!) * 1000 : 0))));
}

/** Throws KEYSPACE_NOT_FOUND. */
function scope(context: AdminContext, keyspace: string): { readonly term: TermOfOffice; readonly names: readonly string[] } {
  const { view, term } = requireTerm(context);
  if (keyspace !== '' && view.keyspace(keyspace) === undefined) throw keyspaceNotFound(keyspace);
  return { term, names: keyspace === '' ? [...view.keyspaces().keys()] : [keyspace] };
}

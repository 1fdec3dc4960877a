import type { PlanRebalanceRequest, PlanRebalanceResponse, PlannedMove, RebalanceRequest, RebalanceResponse, RefusedMove as RefusedMoveMessage } from '@atoll/contracts/atoll/v1/migration';
import { keyspaceNotFound } from '@atoll/core-membership';
import { MIGRATION_REASONS, shortageText, sourcesOf, takeWhatFits, targetsOf, type PlannedOperator, type PlannedRebalance, type ReasonedMove, type RefusedMove } from '@atoll/core-migration';
import { randomHex } from '@atoll/core-runtime';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { checkMethod, draftMigration } from '../migration/begin-migration.ts';
import { sizeIn, type ClusterSurvey } from '../migration/cluster-survey.ts';
import type { TermOfOffice } from '../term-of-office.ts';
import { beginOnce, checkMigrationId, describeMigration, existingMigration } from './known-migrations.ts';

/** Refused moves that an answer tells one by one. */
export const REFUSED_TOLD_MAX = 500;

export async function planRebalance(context: AdminContext, { keyspace }: PlanRebalanceRequest): Promise<PlanRebalanceResponse> {
  const { term, names } = scope(context, keyspace);
  const plan = term.planRebalance(names);
  const survey = await term.migrations.survey();
  const { fitting, refused } = withRoom(plan, survey);
  const moves = fitting.map(({ record, before, after, reason }): PlannedMove => {
    const { bytes, entries } = sizeIn(survey, record);
    const targets = targetsOf({ before, after });
    return { keyspace: record.keyspace, partition: record.partition, from: sourcesOf({ before, after }).join(','), to: targets.join(','), reason, bytes: bytes * targets.length, entries: entries * targets.length };
  });
  const bytes = moves.reduce((sum, move) => sum + move.bytes, 0);
  return { moves, bytes, estimatedMs: estimateMs(fitting, survey), ...told(plan, refused) };
}

export async function rebalance(context: AdminContext, { keyspace, id, method, shards }: RebalanceRequest): Promise<RebalanceResponse> {
  const { term, names } = scope(context, keyspace);
  checkMigrationId(id);
  checkMethod({ method, shards });
  const known = await existingMigration(term, id);
  if (known !== undefined) return { migration: known.migration, refusals: [], refused: [], refusedLeftOut: 0 };
  const plan = term.planRebalance(names);
  const survey = await term.migrations.survey();
  const { fitting, refused } = withRoom(plan, survey);
  if (fitting.length === 0) return told(plan, refused);
  const ask = { id: id || `rebalance-${randomHex(context.random, 8)}`, reason: 'REQUESTED', description: 'rebalance', planned: fitting, method: term.migrations.planMethod({ method, shards }, { planned: fitting, bytesPerSecond: 0 }, survey), bytesPerSecond: 0, fullVerify: false } as const;
  const { job, operators } = draftMigration(ask, survey, term.wallMs());
  await beginOnce(() => term.migrations.begin(job, operators));
  return { migration: describeMigration(term, job.id)?.migration, ...told(plan, refused) };
}

/** The moves for which the targets have room, and all others; both with the most urgent first. */
function withRoom({ planned, refused }: PlannedRebalance, survey: ClusterSurvey): { readonly fitting: readonly ReasonedMove[]; readonly refused: readonly RefusedMove[] } {
  const { fitting, unfit } = takeWhatFits(planned, ({ record }) => sizeIn(survey, record).bytes, (node) => survey.memory.get(node));
  const short = unfit.map(({ operator, shortage }): RefusedMove => ({ ...operator, obstacle: { kind: 'NO_ROOM', text: shortageText(shortage) } }));
  return { fitting, refused: [...short, ...refused].sort((a, b) => urgency(a) - urgency(b)) };
}

const urgency = ({ reason }: ReasonedMove): number => MIGRATION_REASONS.indexOf(reason);

const told = ({ refusals }: PlannedRebalance, refused: readonly RefusedMove[]): Pick<PlanRebalanceResponse, 'refusals' | 'refused' | 'refusedLeftOut'> => ({
  refusals: [...refusals],
  refused: refused.slice(0, REFUSED_TOLD_MAX).map(toMessage),
  refusedLeftOut: Math.max(0, refused.length - REFUSED_TOLD_MAX),
});

const toMessage = ({ record: { keyspace, partition }, before, after, reason, obstacle }: RefusedMove): RefusedMoveMessage => ({
  keyspace,
  partition,
  from: sourcesOf({ before, after }).join(','),
  to: targetsOf({ before, after }).join(','),
  reason,
  refusal: obstacle.kind,
  detail: obstacle.text,
  migration: obstacle.migration ?? '',
});

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

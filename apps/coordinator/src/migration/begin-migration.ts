// From placements that are wanted to a job in etcd.
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { MigrationMethod } from '@atoll/contracts/atoll/v1/migration';
import { MOVE_PLAN, SHARDS_MAX, SHARDS_MIN, chooseMethod, draftMigration as draft, findShortages, shardedPlan, shortageText, type MethodFacts, type MethodPlan, type MigrationAsk, type MigrationOperator } from '@atoll/core-migration';
import { knownSizeIn, type ClusterSurvey } from './cluster-survey.ts';

export interface MethodAsk {
  readonly method: MigrationMethod;
  /** 0: left open. */
  readonly shards: number;
}

export const AUTO: MethodAsk = { method: MigrationMethod.MIGRATION_METHOD_AUTO, shards: 0 };

/** Throws INVALID_ARGUMENT that names the field. */
export function checkMethod({ method, shards }: MethodAsk): void {
  const { MIGRATION_METHOD_UNSPECIFIED, MIGRATION_METHOD_MOVE, MIGRATION_METHOD_SHARDED, MIGRATION_METHOD_AUTO } = MigrationMethod;
  const known: readonly MigrationMethod[] = [MIGRATION_METHOD_UNSPECIFIED, MIGRATION_METHOD_MOVE, MIGRATION_METHOD_SHARDED, MIGRATION_METHOD_AUTO];
  if (!known.includes(method)) throw invalidArgument('method', 'must be MOVE, SHARDED or AUTO');
  if (shards !== 0 && method !== MIGRATION_METHOD_SHARDED) throw invalidArgument('shards', 'goes with method SHARDED alone');
  if (shards !== 0 && (shards < SHARDS_MIN || shards > SHARDS_MAX)) throw invalidArgument('shards', `must be 0 or ${SHARDS_MIN} to ${SHARDS_MAX}, is ${shards}`);
}

/** As it was asked for, or what AUTO makes of what the nodes said. */
export function planMethod({ method, shards }: MethodAsk, facts: Pick<MethodFacts, 'planned' | 'bytesPerSecond' | 'fillsPerNode'>, survey: ClusterSurvey): MethodPlan {
  if (method === MigrationMethod.MIGRATION_METHOD_MOVE) return MOVE_PLAN;
  if (method === MigrationMethod.MIGRATION_METHOD_SHARDED) return shardedPlan(shards);
  return chooseMethod({
    ...facts,
    sizeOf: (record) => knownSizeIn(survey, record),
    sendBytesPerSecondOf: (node) => survey.sendBytesPerSecond.get(node),
    loadOf: (node) => survey.load.get(node),
  });
}

/** With what the nodes said their partitions take. */
export const draftMigration = (ask: MigrationAsk, survey: ClusterSurvey, wallMs: number): ReturnType<typeof draft> =>
  draft(ask, (record) => knownSizeIn(survey, record), wallMs);

/** Throws CAPACITY_SHORT with the numbers when a target lacks memory for it. */
export function requireCapacity(operators: readonly MigrationOperator[], survey: ClusterSurvey): void {
  const shortages = findShortages(operators, ({ bytesTotal }) => bytesTotal, (node) => survey.memory.get(node));
  if (shortages.length === 0) return;
  throw new AtollError('CAPACITY_SHORT', `to: ${shortages.map(shortageText).join('; ')}`, { metadata: { field: 'to', node: shortages[0]!.node } });
}

// From placements that are wanted to a job in etcd.
import { AtollError } from '@atoll/core-errors';
import { draftMigration as draft, findShortages, shortageText, type MigrationAsk, type MigrationOperator } from '@atoll/core-migration';
import { partitionName } from '@atoll/core-membership';
import type { ClusterSurvey } from './cluster-survey.ts';

/** With what the nodes said their partitions take. */
export const draftMigration = (ask: MigrationAsk, survey: ClusterSurvey, wallMs: number): ReturnType<typeof draft> =>
  draft(ask, ({ keyspace, partition }) => survey.sizes.get(partitionName(keyspace, partition)), wallMs);

/** Throws CAPACITY_SHORT with the numbers when a target lacks memory for it. */
export function requireCapacity(operators: readonly MigrationOperator[], survey: ClusterSurvey): void {
  const shortages = findShortages(operators, ({ bytesTotal }) => bytesTotal, (node) => survey.memory.get(node));
  if (shortages.length === 0) return;
  throw new AtollError('CAPACITY_SHORT', `to: ${shortages.map(shortageText).join('; ')}`, { metadata: { field: 'to', node: shortages[0]!.node } });
}

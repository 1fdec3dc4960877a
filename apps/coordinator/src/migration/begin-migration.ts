// From placements that are wanted to a job in etcd.
import { AtollError } from '@atoll/core-errors';
import { findShortages, shortageText, type MigrationJob, type MigrationOperator, type MigrationReason, type PlannedOperator } from '@atoll/core-migration';
import { partitionName } from '@atoll/core-membership';
import type { ClusterSurvey } from './cluster-survey.ts';

export interface MigrationAsk {
  readonly id: string;
  readonly reason: MigrationReason;
  readonly description: string;
  readonly planned: readonly PlannedOperator[];
  readonly bytesPerSecond: number;
  readonly fullVerify: boolean;
}

/** The job and its operators, as they are to be written. `traceparent`: of the job's span. */
export function draftMigration(ask: MigrationAsk, survey: ClusterSurvey, wallMs: number): { readonly job: MigrationJob; readonly operators: readonly MigrationOperator[] } {
  const { id, reason, description, planned, bytesPerSecond, fullVerify } = ask;
  const operators = planned.map(({ record, before, after }): MigrationOperator => {
    const size = survey.sizes.get(partitionName(record.keyspace, record.partition));
    return {
      job: id,
      keyspace: record.keyspace,
      keyspaceId: record.keyspaceId,
      partition: record.partition,
      reason,
      before,
      after,
      step: 'WAITING',
      stepSinceMs: wallMs,
      proof: undefined,
      pauseMs: undefined,
      bytes: 0,
      entries: 0,
      bytesTotal: size?.bytes ?? 0,
      entriesTotal: size?.entries ?? 0,
      problem: '',
      traceparent: '',
    };
  });
  const job: MigrationJob = {
    id,
    method: 'MOVE',
    reason,
    state: 'RUNNING',
    createdMs: wallMs,
    endedMs: 0,
    description,
    problem: '',
    bytesPerSecond,
    fullVerify,
    traceparent: '',
    total: operators.length,
    done: 0,
    rolledBack: 0,
    bytes: 0,
    entries: 0,
    pauseMsMax: 0,
  };
  return { job, operators };
}

/** Throws CAPACITY_SHORT with the numbers when a target lacks memory for it. */
export function requireCapacity(operators: readonly MigrationOperator[], survey: ClusterSurvey): void {
  const shortages = findShortages(operators, (keyspace, partition) => survey.sizes.get(partitionName(keyspace, partition))?.bytes ?? 0, (node) => survey.memory.get(node));
  if (shortages.length === 0) return;
  throw new AtollError('CAPACITY_SHORT', `to: ${shortages.map(shortageText).join('; ')}`, { metadata: { field: 'to', node: shortages[0]!.node } });
}

// From placements that are wanted to a job and its operators, as they are to be written.
import type { PartitionRecord } from '@atoll/core-membership';
import type { MethodPlan } from './choose-method.ts';
import type { MigrationJob, MigrationReason } from './migration-job.ts';
import type { MigrationOperator } from './operator.ts';
import type { PlannedOperator } from './plan-move.ts';

export interface MigrationAsk {
  readonly id: string;
  readonly reason: MigrationReason;
  readonly description: string;
  readonly planned: readonly PlannedOperator[];
  readonly method: MethodPlan;
  readonly bytesPerSecond: number;
  readonly fullVerify: boolean;
}

/** What a partition takes; undefined where nobody said. */
export type SizeOf = (record: PartitionRecord) => { readonly bytes: number; readonly entries: number } | undefined;

export function draftMigration(ask: MigrationAsk, sizeOf: SizeOf, wallMs: number): { readonly job: MigrationJob; readonly operators: readonly MigrationOperator[] } {
  const { id, reason, description, planned, method, bytesPerSecond, fullVerify } = ask;
  const operators = planned.map(({ record, before, after }): MigrationOperator => {
    const size = sizeOf(record);
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
    ...method,
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

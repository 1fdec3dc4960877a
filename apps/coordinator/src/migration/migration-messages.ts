import { MigrationMethod, MigrationState, MigrationStep, type Migration, type PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import { sourcesOf, targetsOf, type MigrationJob, type MigrationOperator } from '@atoll/core-migration';
import { parseTraceparent } from '@atoll/platform-telemetry';
import type { CopyProgress } from './transfer-watch.ts';

/** `running`: what its running operators have copied so far. */
export function toMigration(job: MigrationJob, running: Iterable<CopyProgress>): Migration {
  let { bytes, entries } = job;
  for (const copy of running) {
    bytes += copy.bytes;
    entries += copy.entries;
  }
  return {
    id: job.id,
    method: MigrationMethod[`MIGRATION_METHOD_${job.method}`],
    reason: job.reason,
    state: MigrationState[`MIGRATION_STATE_${job.state}`],
    createdAtMs: job.createdMs,
    endedAtMs: job.endedMs,
    description: job.description,
    problem: job.problem,
    partitionsTotal: job.total,
    partitionsDone: job.done,
    partitionsRolledBack: job.rolledBack,
    bytes,
    entries,
    pauseMsMax: job.pauseMsMax,
    traceId: parseTraceparent(job.traceparent)?.traceId ?? '',
    bytesPerSecond: job.bytesPerSecond,
    fullVerify: job.fullVerify,
    shards: job.shards,
    partitionsAtOnce: job.partitionsAtOnce,
    methodReason: job.methodReason,
  };
}

export function toPartitionMigration(operator: MigrationOperator, copy: CopyProgress): PartitionMigration {
  const { keyspace, partition, reason, step, stepSinceMs, proof, pauseMs, problem, bytesTotal, entriesTotal } = operator;
  return {
    keyspace,
    partition,
    from: sourcesOf(operator),
    to: targetsOf(operator),
    reason,
    step: MigrationStep[`MIGRATION_STEP_${step}`],
    stepSinceMs,
    bytes: copy.bytes,
    entries: copy.entries,
    progress: copy.progress,
    proof: proof && { ...proof, differing: 0 },
    pauseMs,
    problem,
    bytesTotal,
    entriesTotal,
    problemReason: '',
  };
}

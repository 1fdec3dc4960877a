import { Migration, MigrationMethod, MigrationState, MigrationStep, PartitionMigration, WatchMigrationResponse } from '@atoll/contracts/atoll/v1/migration';

/** A job of `total` partitions from node-1 to node-4. */
export const jobOf = (total: number, more: Partial<Migration> = {}): Migration =>
  Migration.fromPartial({ id: 'm-1', method: MigrationMethod.MIGRATION_METHOD_MOVE, shards: 1, reason: 'REQUESTED', state: MigrationState.MIGRATION_STATE_RUNNING, createdAtMs: 1_000_000, description: 'node-1 to node-4', partitionsTotal: total, ...more });

export const partitionIn = (step: MigrationStep, partition: number, more: Partial<PartitionMigration> = {}): PartitionMigration =>
  PartitionMigration.fromPartial({ keyspace: 'default', partition, from: ['node-1'], to: ['node-4'], reason: 'REQUESTED', step, bytesTotal: 4096, entriesTotal: 40, ...more });

export const copying = (partition: number, bytes: number): PartitionMigration => partitionIn(MigrationStep.MIGRATION_STEP_CATCH_UP, partition, { bytes, progress: bytes / 4096 });

export const done = (partition: number): PartitionMigration => partitionIn(MigrationStep.MIGRATION_STEP_DONE, partition, { bytes: 4096, entries: 40, progress: 1, proof: { epoch: 2, seq: 90, entries: 40, equal: 62, repaired: 2, comparedEntries: 40 }, pauseMs: 3.25 });

export const messageOf = (migration: Migration, partitions: PartitionMigration[] = [], more: Partial<WatchMigrationResponse> = {}): WatchMigrationResponse => WatchMigrationResponse.fromPartial({ migration, partitions, ...more });

import { setTimeout as pause } from 'node:timers/promises';
import { MigrationStep, type PartitionMigration, type WatchMigrationRequest, type WatchMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { writeWithBackpressure, type ServerStreamHandler } from '@atoll/platform-grpc';
import { requireElected, type AdminContext } from '../admin-context.ts';
import { CopyRate } from '../migration/copy-rate.ts';
import { requireMigration } from './known-migrations.ts';

const INTERVAL_MS_DEFAULT = 500;
const INTERVAL_MS_MIN = 100;
const INTERVAL_MS_MAX = 60_000;
/** Watchers of this process; one more is refused as OVERLOADED (I10). */
const WATCHERS_MAX = 64;

export function watchMigration(context: AdminContext): ServerStreamHandler<WatchMigrationRequest, WatchMigrationResponse> {
  let watchers = 0;
  return async (call, { signal }) => {
    const { id, intervalMs } = call.request;
    if (intervalMs !== 0 && (intervalMs < INTERVAL_MS_MIN || intervalMs > INTERVAL_MS_MAX)) throw invalidArgument('interval_ms', `must be 0 or ${INTERVAL_MS_MIN} to ${INTERVAL_MS_MAX}`);
    if (watchers >= WATCHERS_MAX) throw new AtollError('OVERLOADED', `${WATCHERS_MAX} clients watch migrations already`);
    watchers += 1;
    try {
      const rate = new CopyRate();
      const told = new Map<string, string>();
      let last = '';
      for (;;) {
        // Whoever was elected since is asked by the client.
        const { term } = requireElected(context);
        const { migration, partitions } = await requireMigration(term, id);
        const bytesPerSecond = rate.note(migration!.bytes, performance.now());
        const news = partitions.filter((partition) => isNews(told, partition));
        const text = JSON.stringify(migration);
        const hasEnded = migration!.endedAtMs > 0;
        if (text !== last || news.length > 0 || bytesPerSecond > 0) {
          const left = bytesLeft(partitions);
          const remainingMs = bytesPerSecond > 0 ? (left / bytesPerSecond) * 1000 : undefined;
          await writeWithBackpressure(call, { migration, partitions: news, bytesPerSecond, remainingMs }, signal);
        }
        last = text;
        if (hasEnded) return;
        // A client that goes away is nothing to tell of.
        await pause(intervalMs || INTERVAL_MS_DEFAULT, undefined, { signal }).catch(() => undefined);
        if (signal.aborted) return;
      }
    } finally {
      watchers -= 1;
    }
  };
}

/** Keys and values still to be copied. What partitions take in memory is more than that, by as much as those that are done show. */
function bytesLeft(partitions: readonly PartitionMigration[]): number {
  const done = partitions.filter(({ step, bytes }) => step === MigrationStep.MIGRATION_STEP_DONE && bytes > 0);
  const taken = done.reduce((sum, { bytesTotal }) => sum + bytesTotal, 0);
  const share = taken > 0 ? done.reduce((sum, { bytes }) => sum + bytes, 0) / taken : 1;
  const isOver = ({ step }: PartitionMigration): boolean => step === MigrationStep.MIGRATION_STEP_DONE || step === MigrationStep.MIGRATION_STEP_FOLLOW || step === MigrationStep.MIGRATION_STEP_ROLLED_BACK;
  return partitions.reduce((sum, partition) => sum + (isOver(partition) ? 0 : Math.max(0, share * partition.bytesTotal - partition.bytes)), 0);
}

function isNews(told: Map<string, string>, partition: PartitionMigration): boolean {
  const name = `${partition.keyspace}/${partition.partition}`;
  const text = JSON.stringify(partition);
  if (told.get(name) === text) return false;
  told.set(name, text);
  return true;
}

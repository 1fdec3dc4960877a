import { OPERATOR_STEPS, hasEnded, isEnded, type CopyJob, type MigrationJob, type MigrationOperator } from '@atoll/core-migration';
import type { Metrics } from '@atoll/platform-telemetry';

export interface MigrationMetrics {
  stepped(from: MigrationOperator, to: MigrationOperator): void;
  ended(job: MigrationJob): void;
  /** A copy took the place of its source. */
  cutOver(pausesMs: readonly number[]): void;
}

/** `read` is called when somebody asks for the metrics: jobs and operators of the present term. */
export function createMigrationMetrics(metrics: Metrics, read: { readonly jobs: () => readonly MigrationJob[]; readonly operators: () => readonly MigrationOperator[]; readonly copies?: () => readonly CopyJob[] }): MigrationMetrics {
  metrics.gauge('atoll_migrations_active', { description: 'Migrations that have not ended.' }, () => read.jobs().filter((job) => !isEnded(job)).length);
  const paused = (jobs: readonly { readonly state: string }[]): number => jobs.filter(({ state }) => state === 'PAUSED').length;
  metrics.gaugeFamily('atoll_migrations_paused', { description: 'Migrations that are paused.' }, () => [
    { labels: { kind: 'move' }, value: paused(read.jobs()) },
    { labels: { kind: 'copy' }, value: paused(read.copies?.() ?? []) },
  ]);
  metrics.gaugeFamily('atoll_migration_partitions', { description: 'Partitions in migration by step.' }, () => {
    const operators = read.operators();
    return OPERATOR_STEPS.filter((step) => step !== 'DONE' && step !== 'ROLLED_BACK').map((step) => ({ labels: { step }, value: operators.filter((operator) => operator.step === step).length }));
  });
  const partitions = metrics.counterFamily('atoll_migration_partitions_total', ['result'], { description: 'Partitions whose migration ended: done, rolled_back.' });
  const bytes = metrics.counter('atoll_migration_bytes_total', { description: 'Keys and values that migrations that ended copied.', unit: 'By' });
  const jobs = metrics.counterFamily('atoll_migrations_total', ['state'], { description: 'Migrations that ended: succeeded, failed, cancelled.' });
  for (const state of ['succeeded', 'failed', 'cancelled']) jobs.with(state);
  for (const result of ['done', 'rolled_back']) partitions.with(result);
  const pauses = metrics.histogram('atoll_migration_pause_seconds', { description: 'Time for which writes to one partition waited for its leader to change in a migration, or for a copy to take its place.', unit: 's' });
  return {
    stepped: (from, to) => {
      if (to.pauseMs !== undefined && to.pauseMs !== from.pauseMs) pauses.record(to.pauseMs);
      if (!hasEnded(to)) return;
      partitions.with(to.step.toLowerCase()).add();
      bytes.add(to.bytes);
    },
    ended: (job) => jobs.with(job.state.toLowerCase()).add(),
    cutOver: (pausesMs) => {
      for (const pauseMs of pausesMs) pauses.record(pauseMs);
    },
  };
}

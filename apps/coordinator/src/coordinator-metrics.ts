import { NODE_VERDICT_STATES, type DecisionKind, type NodeVerdictState } from '@atoll/core-membership';
import type { Metrics } from '@atoll/platform-telemetry';
import type { PartitionHealth } from './domain/partition-health.ts';
import { createMigrationMetrics, type MigrationMetrics } from './migration/migration-metrics.ts';
import type { MigrationStore } from './migration/migration-store.ts';
import { createVerifyMetrics, type VerifyMetrics } from './verify/verify-metrics.ts';

export interface CoordinatorMetrics extends VerifyMetrics {
  readonly migration: MigrationMetrics;
  /** A decision that was certainly written. */
  decided(kind: DecisionKind | 'NODE_SPEC'): void;
}

/** `read*` are called when somebody asks for the metrics. */
export function createCoordinatorMetrics(
  metrics: Metrics,
  read: { readonly isElected: () => boolean; readonly nodeStates: () => readonly NodeVerdictState[]; readonly health: () => PartitionHealth; readonly migrations: () => MigrationStore | undefined },
): CoordinatorMetrics {
  const decisions = metrics.counterFamily('atoll_coordinator_decisions_total', ['kind'], { description: 'Decisions written to etcd.' });
  metrics.gauge('atoll_coordinator_elected', { description: '1 while this process is the elected coordinator.' }, () => (read.isElected() ? 1 : 0));
  metrics.gaugeFamily('atoll_cluster_nodes', { description: 'Storage nodes by state.' }, () => {
    const states = read.nodeStates();
    return NODE_VERDICT_STATES.map((state) => ({ labels: { state }, value: states.filter((other) => other === state).length }));
  });
  metrics.gauge('atoll_cluster_partitions', { description: 'Partitions of all keyspaces.' }, () => read.health().partitions);
  metrics.gauge('atoll_cluster_partitions_without_leader', { description: 'Partitions that nobody leads.' }, () => read.health().withoutLeader);
  metrics.gauge(
    'atoll_cluster_partitions_under_replicated',
    { description: 'Partitions with fewer in-sync replicas than their replication factor.' },
    () => read.health().underReplicated,
  );
  const migration = createMigrationMetrics(metrics, { jobs: () => read.migrations()?.jobs() ?? [], operators: () => read.migrations()?.operators() ?? [] });
  return { ...createVerifyMetrics(metrics), migration, decided: (kind) => decisions.with(kind).add() };
}

import { StandbyState, type StandbyStatus } from '@atoll/contracts/atoll/v1/standby';
import { NODE_VERDICT_STATES, type DecisionKind, type NodeVerdictState } from '@atoll/core-membership';
import type { CopyJob } from '@atoll/core-migration';
import type { Metrics } from '@atoll/platform-telemetry';
import type { FrozenKeyspace } from './domain/frozen-keyspaces.ts';
import type { PartitionHealth } from './domain/partition-health.ts';
import { createMigrationMetrics, type MigrationMetrics } from './migration/migration-metrics.ts';
import type { MigrationStore } from './migration/migration-store.ts';
import { createVerifyMetrics, type VerifyMetrics } from './verify/verify-metrics.ts';

/** Each is shown from the start, at 0: a rate needs a value before the first decision. */
const DECISIONS = {
  PLACE: 1, PROMOTE: 1, TRANSFER: 1, PROMOTE_ELIGIBLE: 1, FENCE: 1, RECOVER: 1, WAIT: 1, RESET: 1, ADD_LEARNER: 1, DROP_LEARNER: 1,
  MARK_LEAVING: 1, DROP_LEAVING: 1, FREEZE: 1, THAW: 1, MARK_STANDBY: 1, REMOVE: 1, NODE_SPEC: 1,
} as const satisfies Record<DecisionKind | 'NODE_SPEC', 1>;

export interface CoordinatorMetrics extends VerifyMetrics {
  readonly migration: MigrationMetrics;
  /** A decision that was certainly written. */
  decided(kind: DecisionKind | 'NODE_SPEC'): void;
}

/** `read*` are called when somebody asks for the metrics. */
export function createCoordinatorMetrics(
  metrics: Metrics,
  read: { readonly isElected: () => boolean; readonly nodeStates: () => readonly NodeVerdictState[]; readonly health: () => PartitionHealth; readonly migrations: () => MigrationStore | undefined; readonly copies: () => readonly CopyJob[]; readonly standbys?: () => readonly StandbyStatus[]; readonly frozen?: () => readonly FrozenKeyspace[] },
): CoordinatorMetrics {
  const decisions = metrics.counterFamily('atoll_coordinator_decisions_total', ['kind'], { description: 'Decisions written to etcd.' });
  for (const kind of Object.keys(DECISIONS)) decisions.with(kind);
  const health = sharedInTurn(read.health);
  metrics.gauge('atoll_coordinator_elected', { description: '1 while this process is the elected coordinator.' }, () => (read.isElected() ? 1 : 0));
  metrics.gaugeFamily('atoll_cluster_nodes', { description: 'Storage nodes by state.' }, () => {
    const states = read.nodeStates();
    return NODE_VERDICT_STATES.map((state) => ({ labels: { state }, value: states.filter((other) => other === state).length }));
  });
  metrics.gauge('atoll_cluster_partitions', { description: 'Partitions of all keyspaces.' }, () => health().partitions);
  metrics.gauge('atoll_cluster_partitions_without_leader', { description: 'Partitions that nobody leads.' }, () => health().withoutLeader);
  metrics.gauge(
    'atoll_cluster_partitions_under_replicated',
    { description: 'Partitions with fewer in-sync replicas than their replication factor.' },
    () => health().underReplicated,
  );
  metrics.gauge('atoll_cluster_partitions_below_min_in_sync', { description: 'Partitions that take no writes: fewer replicas are in sync than have to be.' }, () => health().belowMinInSync);
  metrics.gaugeFamily('atoll_cluster_partitions_by_in_sync', { description: 'Partitions by the size of their in-sync set.' }, () =>
    health().bySetSize.map((value, size) => ({ labels: { replicas: String(size) }, value })),
  );
  metrics.gaugeFamily('atoll_cluster_epochs', { description: 'Sum of the epochs of a keyspace: how often leaderships were given.' }, () =>
    Array.from(health().epochs, ([keyspace, value]) => ({ labels: { keyspace }, value })),
  );
  metrics.gaugeFamily('atoll_cluster_keyspace_frozen_seconds', { description: 'For how long a keyspace has taken no writes since somebody froze it; nothing of others.', unit: 's' }, () =>
    (read.frozen?.() ?? []).map(({ keyspace, forMs }) => ({ labels: { keyspace }, value: Math.max(0, forMs) / 1000 })),
  );
  const following = sharedInTurn(() => (read.standbys?.() ?? []).filter(({ state }) => state !== StandbyState.STANDBY_STATE_PROMOTED));
  const shown = (of: (standby: StandbyStatus) => number | undefined) => () =>
    following().flatMap((standby) => {
      const value = of(standby);
      return value === undefined ? [] : [{ labels: { keyspace: standby.keyspace }, value }];
    });
  metrics.gaugeFamily('atoll_standby_lag_seconds', { description: 'How old the state of its primary is that a standby holds; it grows while the primary is away.', unit: 's' }, shown(({ lagMs }) => lagMs && lagMs / 1000));
  metrics.gaugeFamily('atoll_standby_lag_entries', { description: 'Log entries of its primary that a standby has yet to apply.' }, shown(({ lagSeq }) => lagSeq));
  metrics.gaugeFamily('atoll_standby_following', { description: '1 while a standby has all keys and follows its primary.' }, shown(({ state }) => (state === StandbyState.STANDBY_STATE_FOLLOWING ? 1 : 0)));
  metrics.gauge('atoll_standby_primaries_not_fenced', { description: 'Keyspaces that were promoted without their primary, which was not told yet.' }, () => (read.standbys?.() ?? []).filter(({ promotion }) => promotion?.primaryFenced === false).length);
  const migration = createMigrationMetrics(metrics, { jobs: () => read.migrations()?.jobs() ?? [], operators: () => read.migrations()?.operators() ?? [], copies: read.copies });
  return { ...createVerifyMetrics(metrics), migration, decided: (kind) => decisions.with(kind).add() };
}

/** All gauges are read in one turn of the event loop: what they share is counted once. */
function sharedInTurn<T>(count: () => T): () => T {
  let known: { readonly value: T } | undefined;
  return () => {
    if (known === undefined) {
      known = { value: count() };
      queueMicrotask(() => (known = undefined));
    }
    return known.value;
  };
}

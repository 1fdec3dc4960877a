// Every alert: when it fires, what it says, and worlds in which it has to fire or to stay silent.

/** A world of series, as promtool writes them: one value a minute, `0x5 1x10` is six zeros and eleven ones. */
export interface AlertCase {
  readonly name: string;
  readonly series: Readonly<Record<string, string>>;
  /** Alerts of this name that fire, by the minute at which that is asked. */
  readonly firing: Readonly<Record<number, number>>;
}

export interface Alert {
  /** Also the name of its runbook. */
  readonly name: string;
  readonly expr: string;
  /** How long it has to hold: '0s' for what is wrong however short it was. */
  readonly for: string;
  /** critical: clients feel it or data is in danger, somebody looks now. warning: somebody looks today. */
  readonly severity: 'critical' | 'warning';
  readonly summary: string;
  readonly cases: readonly AlertCase[];
}

const SERVICES = 'router|storage-node|coordinator|backup';
const COORDINATOR = 'job="coordinator",instance="coordinator-1"';
const NODE = 'job="storage-node",instance="storage-node-1"';
const ROUTER = 'job="router",instance="router-1"';
const BACKUP = 'job="backup",instance="backup-1"';

/** It fires while the gauge is not what it should be for long enough, and is silent before. */
const gaugeCases = (series: string, { good, bad, minutes, count = 1 }: { good: number; bad: number; minutes: number; count?: number }): AlertCase[] => [
  { name: 'fires when it lasts', series: { [series]: `${good}x4 ${bad}x${minutes + 5}` }, firing: { 4: 0, [5 + minutes + 1]: count } },
  { name: 'is silent when all is well', series: { [series]: `${good}x${minutes + 10}` }, firing: { [minutes + 10]: 0 } },
];

/** It fires when the counter grew, and falls silent once that is long ago. */
const countCases = (series: string, silentAtMinute: number): AlertCase[] => [
  { name: 'fires when it happened, and not for ever', series: { [series]: `0x5 1x${silentAtMinute}` }, firing: { 4: 0, 7: 1, [silentAtMinute]: 0 } },
];

export const ALERTS: readonly Alert[] = [
  {
    name: 'AtollInstanceDown',
    expr: `up{job=~"${SERVICES}"} == 0`,
    for: '1m',
    severity: 'warning',
    summary: '{{ $labels.job }} {{ $labels.instance }} does not answer Prometheus.',
    cases: gaugeCases(`up{${ROUTER}}`, { good: 1, bad: 0, minutes: 1 }),
  },
  {
    name: 'AtollNodeDown',
    expr: 'cluster:atoll_nodes:elected{state="DOWN"} > 0',
    for: '1m',
    severity: 'warning',
    summary: '{{ $value }} storage nodes are dead or cut off.',
    cases: [
      {
        name: 'asks the elected coordinator alone',
        series: {
          [`atoll_cluster_nodes{${COORDINATOR},state="DOWN"}`]: '0x4 1x10',
          [`atoll_coordinator_elected{${COORDINATOR}}`]: '1x20',
          'atoll_cluster_nodes{job="coordinator",instance="coordinator-2",state="DOWN"}': '3x20',
          'atoll_coordinator_elected{job="coordinator",instance="coordinator-2"}': '0x20',
        },
        firing: { 4: 0, 7: 1 },
      },
    ],
  },
  {
    name: 'AtollPartitionsWithoutLeader',
    expr: 'cluster:atoll_partitions_without_leader:max > 0',
    for: '30s',
    severity: 'critical',
    summary: '{{ $value }} partitions have no leader: they take no writes and answer no STRONG read.',
    cases: gaugeCases(`atoll_cluster_partitions_without_leader{${COORDINATOR}}`, { good: 0, bad: 4, minutes: 1 }),
  },
  {
    name: 'AtollPartitionsUnderReplicated',
    expr: 'cluster:atoll_partitions_under_replicated:max > 0',
    for: '5m',
    severity: 'warning',
    summary: '{{ $value }} partitions have fewer replicas in sync than their replication factor.',
    cases: gaugeCases(`atoll_cluster_partitions_under_replicated{${COORDINATOR}}`, { good: 0, bad: 21, minutes: 5 }),
  },
  {
    name: 'AtollWritesRefused',
    expr: 'max(atoll_cluster_partitions_below_min_in_sync) > 0',
    for: '1m',
    severity: 'critical',
    summary: '{{ $value }} partitions take no writes: fewer replicas are in sync than minInSync.',
    cases: gaugeCases(`atoll_cluster_partitions_below_min_in_sync{${COORDINATOR}}`, { good: 0, bad: 2, minutes: 1 }),
  },
  {
    name: 'AtollNoCoordinator',
    expr: '(sum(atoll_coordinator_elected) or vector(0)) == 0',
    for: '1m',
    severity: 'critical',
    summary: 'No coordinator is elected: nothing fails over.',
    cases: [
      ...gaugeCases(`atoll_coordinator_elected{${COORDINATOR}}`, { good: 1, bad: 0, minutes: 1 }),
      { name: 'fires when none is there at all', series: { [`up{${ROUTER}}`]: '1x10' }, firing: { 5: 1 } },
    ],
  },
  {
    name: 'AtollEtcdDisconnected',
    expr: 'atoll_etcd_connected == 0',
    for: '1m',
    severity: 'critical',
    summary: '{{ $labels.job }} {{ $labels.instance }} hears nothing of etcd.',
    cases: gaugeCases(`atoll_etcd_connected{${NODE}}`, { good: 1, bad: 0, minutes: 1 }),
  },
  {
    name: 'AtollEtcdMemberDown',
    expr: 'up{job="etcd"} == 0 or etcd_server_has_leader{job="etcd"} == 0',
    for: '1m',
    severity: 'warning',
    summary: 'etcd {{ $labels.instance }} is down or has no leader.',
    cases: [
      ...gaugeCases('up{job="etcd",instance="etcd-1"}', { good: 1, bad: 0, minutes: 1 }),
      { name: 'fires for a member without a leader', series: { 'etcd_server_has_leader{job="etcd",instance="etcd-1"}': '0x10' }, firing: { 5: 1 } },
    ],
  },
  {
    name: 'AtollEtcdSlow',
    expr: 'histogram_quantile(0.99, sum by (instance, job, le) (rate(atoll_etcd_request_duration_seconds_bucket[5m]))) > 0.5',
    for: '5m',
    severity: 'warning',
    summary: 'Calls of {{ $labels.instance }} to etcd take up to {{ $value | humanizeDuration }} (p99).',
    cases: [
      {
        name: 'fires when calls take a second',
        series: { [`atoll_etcd_request_duration_seconds_bucket{${NODE},operation="keep",le="0.5"}`]: '0x20', [`atoll_etcd_request_duration_seconds_bucket{${NODE},operation="keep",le="1"}`]: '0+10x20', [`atoll_etcd_request_duration_seconds_bucket{${NODE},operation="keep",le="+Inf"}`]: '0+10x20' },
        firing: { 4: 0, 12: 1 },
      },
      {
        name: 'is silent when they take milliseconds',
        series: { [`atoll_etcd_request_duration_seconds_bucket{${NODE},operation="keep",le="0.01"}`]: '0+10x20', [`atoll_etcd_request_duration_seconds_bucket{${NODE},operation="keep",le="+Inf"}`]: '0+10x20' },
        firing: { 12: 0 },
      },
    ],
  },
  {
    name: 'AtollMetadataRegressed',
    expr: 'max(atoll_metadata_regressed) > 0',
    for: '0s',
    severity: 'critical',
    summary: 'etcd shows less than was seen: nothing can be changed until the metadata is recovered.',
    cases: gaugeCases(`atoll_metadata_regressed{${NODE}}`, { good: 0, bad: 1, minutes: 0 }),
  },
  {
    name: 'AtollDataLoss',
    expr: 'sum by (kind) (increase(atoll_coordinator_events_total{kind=~"DATA_LOSS|DATA_DISCARDED"}[15m])) > 0',
    for: '0s',
    severity: 'critical',
    summary: 'Data was lost: {{ $labels.kind }}. `atoll events --kind {{ $labels.kind }}` tells of what.',
    cases: countCases(`atoll_coordinator_events_total{${COORDINATOR},kind="DATA_LOSS"}`, 30),
  },
  {
    name: 'AtollReplicasDiffer',
    expr: 'sum by (kind) (increase(atoll_coordinator_events_total{kind=~"REPLICA_DIFFERS|REPLICAS_CONTESTED"}[1h])) > 0',
    for: '0s',
    severity: 'critical',
    summary: 'Replicas of a partition differ and were not repaired ({{ $labels.kind }}).',
    cases: countCases(`atoll_coordinator_events_total{${COORDINATOR},kind="REPLICAS_CONTESTED"}`, 80),
  },
  {
    name: 'AtollNodesFlapping',
    expr: 'sum(increase(atoll_coordinator_events_total{kind="NODE_DOWN"}[30m])) >= 3',
    for: '0s',
    severity: 'warning',
    summary: 'Storage nodes were declared DOWN {{ $value | humanize }} times in 30 minutes.',
    cases: [
      { name: 'fires at the third time', series: { [`atoll_coordinator_events_total{${COORDINATOR},kind="NODE_DOWN"}`]: '0x2 1x2 2x2 3x40' }, firing: { 5: 0, 10: 1, 45: 0 } },
      { name: 'is silent for one', series: { [`atoll_coordinator_events_total{${COORDINATOR},kind="NODE_DOWN"}`]: '0x2 1x20' }, firing: { 10: 0 } },
    ],
  },
  {
    name: 'AtollReplicationLag',
    expr: 'max by (instance, keyspace) (atoll_replication_lag_seconds) > 5',
    for: '2m',
    severity: 'warning',
    summary: 'A follower of {{ $labels.instance }} in keyspace {{ $labels.keyspace }} is {{ $value | humanizeDuration }} behind.',
    cases: gaugeCases(`atoll_replication_lag_seconds{${NODE},keyspace="default"}`, { good: 0.05, bad: 8, minutes: 2 }),
  },
  {
    name: 'AtollFailuresHigh',
    expr: 'cluster:atoll_router_failures:ratio5m > 0.01',
    for: '2m',
    severity: 'critical',
    summary: '{{ $value | humanizePercentage }} of all operations fail.',
    cases: [
      {
        name: 'fires at two of a hundred',
        series: { [`atoll_router_operations_total{${ROUTER},operation="set",reason="OK"}`]: '0+98x20', [`atoll_router_operations_total{${ROUTER},operation="set",reason="PARTITION_UNAVAILABLE"}`]: '0+2x20' },
        firing: { 2: 0, 8: 1 },
      },
      {
        name: 'does not count what clients do wrong',
        series: { [`atoll_router_operations_total{${ROUTER},operation="set",reason="OK"}`]: '0+98x20', [`atoll_router_operations_total{${ROUTER},operation="set",reason="KEY_TOO_LARGE"}`]: '0+50x20' },
        firing: { 8: 0 },
      },
    ],
  },
  {
    name: 'AtollLatencyHigh',
    expr: 'operation:atoll_router_operation_duration_seconds:p99_2m > 0.25',
    for: '5m',
    severity: 'warning',
    summary: '{{ $labels.operation }} takes up to {{ $value | humanizeDuration }} (p99).',
    cases: [
      {
        name: 'fires when one in fifty takes longer',
        series: { [`atoll_router_operation_duration_seconds_bucket{${ROUTER},operation="set",le="0.2"}`]: '0+98x20', [`atoll_router_operation_duration_seconds_bucket{${ROUTER},operation="set",le="1"}`]: '0+100x20', [`atoll_router_operation_duration_seconds_bucket{${ROUTER},operation="set",le="+Inf"}`]: '0+100x20' },
        firing: { 4: 0, 12: 1 },
      },
    ],
  },
  {
    name: 'AtollMemoryExhausted',
    expr: 'sum(rate(atoll_router_operations_total{reason="MEMORY_EXHAUSTED"}[5m])) > 0',
    for: '1m',
    severity: 'critical',
    summary: 'Writes are refused for lack of memory.',
    cases: [
      { name: 'fires while writes are refused', series: { [`atoll_router_operations_total{${ROUTER},operation="set",reason="MEMORY_EXHAUSTED"}`]: '0x5 0+3x10' }, firing: { 4: 0, 10: 1 } },
    ],
  },
  {
    name: 'AtollOverloaded',
    expr: 'sum by (instance) (rate(atoll_router_operations_total{reason="OVERLOADED"}[5m])) > 0',
    for: '2m',
    severity: 'warning',
    summary: '{{ $labels.instance }} turns operations away.',
    cases: [{ name: 'fires while operations are turned away', series: { [`atoll_router_operations_total{${ROUTER},operation="get",reason="OVERLOADED"}`]: '0x5 0+30x10' }, firing: { 4: 0, 11: 1 } }],
  },
  {
    name: 'AtollEventLoopLag',
    expr: 'nodejs_eventloop_lag_seconds{quantile="0.99"} > 0.1',
    for: '2m',
    severity: 'warning',
    summary: 'The event loop of {{ $labels.instance }} is late by {{ $value | humanizeDuration }}.',
    cases: gaugeCases(`nodejs_eventloop_lag_seconds{${NODE},quantile="0.99"}`, { good: 0.002, bad: 0.3, minutes: 2 }),
  },
  {
    name: 'AtollDiskSpaceLow',
    expr: 'atoll_disk_free_bytes / atoll_disk_bytes < 0.1',
    for: '5m',
    severity: 'warning',
    summary: 'The disk of {{ $labels.instance }} has {{ $value | humanizePercentage }} left.',
    cases: [
      { name: 'fires below a tenth', series: { [`atoll_disk_free_bytes{${NODE}}`]: '30x4 5x10', [`atoll_disk_bytes{${NODE}}`]: '100x20' }, firing: { 4: 0, 12: 1 } },
      { name: 'is silent above', series: { [`atoll_disk_free_bytes{${NODE}}`]: '11x20', [`atoll_disk_bytes{${NODE}}`]: '100x20' }, firing: { 12: 0 } },
    ],
  },
  {
    name: 'AtollClockSkew',
    expr: 'abs(process_wall_clock_seconds - timestamp(process_wall_clock_seconds)) > 2',
    for: '2m',
    severity: 'warning',
    summary: 'The clock of {{ $labels.instance }} is off by {{ $value | humanizeDuration }}.',
    cases: [
      { name: 'fires for one that is ten seconds late', series: { [`process_wall_clock_seconds{${NODE}}`]: '-10+60x10', [`process_wall_clock_seconds{${ROUTER}}`]: '0+60x10' }, firing: { 5: 1 } },
      { name: 'is silent for half a second', series: { [`process_wall_clock_seconds{${NODE}}`]: '0.5+60x10' }, firing: { 5: 0 } },
    ],
  },
  {
    name: 'AtollMigrationPaused',
    expr: 'sum(atoll_migrations_paused) > 0',
    for: '1h',
    severity: 'warning',
    summary: '{{ $value }} migrations have been paused for an hour.',
    cases: gaugeCases(`atoll_migrations_paused{${COORDINATOR},kind="copy"}`, { good: 0, bad: 1, minutes: 60 }),
  },
  {
    name: 'AtollMigrationStuck',
    expr: 'max(atoll_migrations_active - ignoring (kind) atoll_migrations_paused{kind="move"}) > 0 and sum(increase(atoll_migration_partitions_total[30m])) == 0 and sum(increase(atoll_sync_sent_bytes_total[30m])) == 0',
    for: '10m',
    severity: 'warning',
    summary: 'A migration runs, and nothing has moved for half an hour.',
    cases: [
      {
        name: 'fires when nothing moves',
        series: {
          [`atoll_migrations_active{${COORDINATOR}}`]: '1x60',
          [`atoll_migrations_paused{${COORDINATOR},kind="move"}`]: '0x60',
          [`atoll_migration_partitions_total{${COORDINATOR},result="done"}`]: '3x60',
          [`atoll_sync_sent_bytes_total{${NODE}}`]: '1000x60',
        },
        firing: { 45: 1 },
      },
      {
        name: 'is silent while bytes move',
        series: {
          [`atoll_migrations_active{${COORDINATOR}}`]: '1x60',
          [`atoll_migrations_paused{${COORDINATOR},kind="move"}`]: '0x60',
          [`atoll_migration_partitions_total{${COORDINATOR},result="done"}`]: '3x60',
          [`atoll_sync_sent_bytes_total{${NODE}}`]: '0+1000x60',
        },
        firing: { 45: 0 },
      },
    ],
  },
  {
    name: 'AtollMigrationFailed',
    expr: 'sum(increase(atoll_migrations_total{state="failed"}[15m])) > 0',
    for: '0s',
    severity: 'warning',
    summary: 'A migration failed: some of its partitions went back.',
    cases: countCases(`atoll_migrations_total{${COORDINATOR},state="failed"}`, 30),
  },
  {
    name: 'AtollBackupOverdue',
    expr: 'max by (schedule) (atoll_backup_schedule_overdue) == 1',
    for: '5m',
    severity: 'critical',
    summary: 'The newest archive, check or drill of the schedule {{ $labels.schedule }} is older than it should be.',
    cases: gaugeCases(`atoll_backup_schedule_overdue{${BACKUP},schedule="nightly"}`, { good: 0, bad: 1, minutes: 5 }),
  },
  {
    name: 'AtollRecoveryPointLag',
    expr: 'max by (keyspace) (atoll_backup_recovery_point_lag_seconds) > 60',
    for: '5m',
    severity: 'critical',
    summary: 'If the cluster were lost now, the last {{ $value | humanizeDuration }} of {{ $labels.keyspace }} would be gone.',
    cases: gaugeCases(`atoll_backup_recovery_point_lag_seconds{${BACKUP},keyspace="orders"}`, { good: 3, bad: 400, minutes: 5 }),
  },
  {
    name: 'AtollLogDetached',
    expr: 'max by (keyspace) (atoll_backup_log_detached_partitions) > 0',
    for: '1h',
    severity: 'warning',
    summary: '{{ $value }} partitions of {{ $labels.keyspace }} can be restored to no moment since their last backup: their log goes on from none.',
    cases: gaugeCases(`atoll_backup_log_detached_partitions{${BACKUP},keyspace="orders"}`, { good: 0, bad: 4, minutes: 60 }),
  },
  {
    name: 'AtollBackupJobFailed',
    expr: 'sum by (kind) (increase(atoll_backup_jobs_total{state="FAILED"}[1h])) > 0',
    for: '0s',
    severity: 'warning',
    summary: 'A job of the kind {{ $labels.kind }} of the backup service failed.',
    cases: countCases(`atoll_backup_jobs_total{${BACKUP},kind="VERIFY",state="FAILED"}`, 80),
  },
  {
    name: 'AtollBackupIdle',
    // One that is down says nothing; where there are none, nobody misses them.
    expr: '(sum(atoll_backup_on_duty) or 0 * sum(up{job="backup"})) == 0',
    for: '5m',
    severity: 'warning',
    summary: 'No backup service does the jobs of the cluster.',
    cases: [
      ...gaugeCases(`atoll_backup_on_duty{${BACKUP}}`, { good: 1, bad: 0, minutes: 5 }),
      { name: 'fires when the only one is down', series: { [`up{${BACKUP}}`]: '1x4 0x20', [`atoll_backup_on_duty{${BACKUP}}`]: '1x4 stale' }, firing: { 4: 0, 11: 1 } },
      { name: 'is silent where there is none', series: { [`up{${ROUTER}}`]: '1x20' }, firing: { 11: 0 } },
    ],
  },
  {
    name: 'AtollBackupRepositoryRefused',
    expr: 'max by (instance) (atoll_backup_repository_refused) == 1',
    for: '2m',
    severity: 'critical',
    summary: '{{ $labels.instance }} finds another repository, or none, where the cluster has used one: its storage may not be mounted. Nothing is archived there.',
    cases: gaugeCases(`atoll_backup_repository_refused{${BACKUP}}`, { good: 0, bad: 1, minutes: 2 }),
  },
  {
    name: 'AtollKeyspaceFrozen',
    expr: 'max by (keyspace) (atoll_cluster_keyspace_frozen_seconds) > 900',
    for: '1m',
    severity: 'warning',
    summary: '{{ $labels.keyspace }} has been frozen for {{ $value | humanizeDuration }}: it takes no writes.',
    cases: gaugeCases(`atoll_cluster_keyspace_frozen_seconds{${COORDINATOR},keyspace="orders"}`, { good: 60, bad: 1200, minutes: 1 }),
  },
  {
    name: 'AtollCopyLag',
    expr: 'max by (keyspace) (atoll_copy_lag_seconds) > 30',
    for: '5m',
    severity: 'warning',
    summary: 'The copy {{ $labels.keyspace }} is {{ $value | humanizeDuration }} behind its source.',
    cases: gaugeCases(`atoll_copy_lag_seconds{${NODE},keyspace="copy"}`, { good: 0.5, bad: 90, minutes: 5 }),
  },
  {
    name: 'AtollStandbyLag',
    expr: 'max by (keyspace) (atoll_standby_lag_seconds) > 10',
    for: '1m',
    severity: 'warning',
    summary: 'The standby {{ $labels.keyspace }} is {{ $value | humanizeDuration }} behind its primary.',
    cases: gaugeCases(`atoll_standby_lag_seconds{${COORDINATOR},keyspace="orders"}`, { good: 0.2, bad: 40, minutes: 1 }),
  },
  {
    name: 'AtollStandbyNotFollowing',
    expr: 'max by (keyspace) (atoll_standby_following) == 0',
    for: '15m',
    severity: 'warning',
    summary: 'The standby {{ $labels.keyspace }} has not followed its primary for a quarter of an hour.',
    cases: gaugeCases(`atoll_standby_following{${COORDINATOR},keyspace="orders"}`, { good: 1, bad: 0, minutes: 15 }),
  },
  {
    name: 'AtollPrimaryNotFenced',
    expr: 'max(atoll_standby_primaries_not_fenced) > 0',
    for: '5m',
    severity: 'warning',
    summary: '{{ $value }} keyspaces were promoted, and their former primaries do not know: they take writes if they come back.',
    cases: gaugeCases(`atoll_standby_primaries_not_fenced{${COORDINATOR}}`, { good: 0, bad: 1, minutes: 5 }),
  },
  {
    name: 'AtollVersionsMixed',
    expr: 'count(count by (version) (atoll_build_info)) > 1',
    for: '1h',
    severity: 'warning',
    summary: '{{ $value }} versions have run side by side for an hour: an upgrade stopped half-way.',
    cases: [
      { name: 'fires for two versions', series: { [`atoll_build_info{${NODE},version="0.1.0"}`]: '1x70', [`atoll_build_info{${ROUTER},version="0.2.0"}`]: '1x70' }, firing: { 30: 0, 65: 1 } },
      { name: 'is silent for one', series: { [`atoll_build_info{${NODE},version="0.1.0"}`]: '1x70', [`atoll_build_info{${ROUTER},version="0.1.0"}`]: '1x70' }, firing: { 65: 0 } },
    ],
  },
];

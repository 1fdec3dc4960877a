// The dashboards. `$__rate_interval` is Grafana's: at least four times the interval of scrapes.
import type { Dashboard, Panel, Query, Variable } from './grafana.ts';
import { FAILURES } from './recording-rules.ts';

const I = '[$__rate_interval]';

const graph = (title: string, unit: string, description: string, queries: Readonly<Record<string, string>>, more: Partial<Panel> = {}): Panel => ({ title, description, kind: 'timeseries', unit, queries: toQueries(queries), ...more });
const stat = (title: string, description: string, expr: string, more: Partial<Panel> = {}): Panel => ({ title, description, kind: 'stat', unit: 'short', queries: [{ expr, legend: title }], ...more });

/** By legend. */
const toQueries = (queries: Readonly<Record<string, string>>): Query[] => Object.entries(queries).map(([legend, expr]) => ({ legend, expr }));

const quantile = (q: number, metric: string, by: string, filter = ''): string => `histogram_quantile(${q}, sum by (${by === '' ? '' : `${by}, `}le) (rate(${metric}_bucket${filter}${I})))`;

const NODE: Variable = { name: 'node', label: 'Node', metric: 'atoll_replicas', of: 'instance', multi: false };
const KEYSPACE: Variable = { name: 'keyspace', label: 'Keyspace', metric: 'atoll_entries', of: 'keyspace', multi: true };
const N = '{instance="$node"}';
const K = '{keyspace=~"$keyspace"}';

const processPanels = (filter: string, legend: string): Panel[] => [
  graph('Event loop lag (p99)', 's', 'How late timers run. A loop that is late answers heartbeats late: from half a lease on, leaderships go.', { [legend]: `nodejs_eventloop_lag_seconds{quantile="0.99"${filter}}` }, { alarm: 0.1 }),
  graph('Event loop busy', 'percentunit', 'A process is full at 1: it does its work on one core.', { [legend]: `nodejs_eventloop_utilization_ratio${filter === '' ? '' : `{${filter.slice(1)}}`}` }),
  graph('Garbage collection', 'percentunit', 'Share of time in which garbage collection stops the process.', { [legend]: `sum by (instance) (rate(nodejs_gc_pause_seconds_sum${filter === '' ? '' : `{${filter.slice(1)}}`}${I}))` }),
  graph('CPU', 'percentunit', 'Cores in use.', { [legend]: `sum by (instance) (rate(process_cpu_seconds_total${filter === '' ? '' : `{${filter.slice(1)}}`}${I}))` }),
  graph('Memory of the process', 'bytes', 'Resident memory.', { [legend]: `process_memory_bytes{kind="rss"${filter}}` }),
];

const OVERVIEW: Dashboard = {
  name: 'overview',
  title: 'Atoll: overview',
  description: 'Is the cluster well, and what do clients see.',
  variables: [],
  rows: [
    {
      title: 'Health',
      panels: [
        stat('Nodes up', 'As the elected coordinator judges.', 'sum(cluster:atoll_nodes:elected{state="UP"})'),
        stat('Nodes not up', 'Suspected or dead.', 'sum(cluster:atoll_nodes:elected{state=~"SUSPECT|DOWN"})', { alarm: 1 }),
        stat('Without a leader', 'Partitions that take no writes and answer no STRONG read.', 'cluster:atoll_partitions_without_leader:max', { alarm: 1 }),
        stat('Under-replicated', 'Partitions with fewer replicas in sync than their replication factor.', 'cluster:atoll_partitions_under_replicated:max', { alarm: 1 }),
        stat('Elected coordinators', 'One. None: nothing fails over.', 'sum(atoll_coordinator_elected)'),
        stat('Services not connected to etcd', 'They serve on; nothing is decided.', 'count(atoll_etcd_connected) - sum(atoll_etcd_connected)', { alarm: 1 }),
      ],
    },
    {
      title: 'Clients',
      panels: [
        graph('Operations', 'ops', 'Finished operations at all routers.', { '{{operation}}': 'operation:atoll_router_operations:rate2m' }, { stacked: true }),
        graph('Failures', 'ops', 'By reason; what clients did wrong is not among them.', { '{{reason}}': `sum by (reason) (rate(atoll_router_operations_total{reason=~"${FAILURES}"}${I})) or (0 * sum(rate(atoll_router_operations_total${I})))` }),
        graph('Latency p99', 's', 'From the arrival at a router to the answer, repeats included.', { '{{operation}}': 'operation:atoll_router_operation_duration_seconds:p99_2m' }, { alarm: 0.25 }),
        graph('Latency p50', 's', 'The usual operation.', { '{{operation}}': 'operation:atoll_router_operation_duration_seconds:p50_2m' }),
        graph('Hit ratio', 'percentunit', 'Reads that found an entry.', { '{{keyspace}}': 'keyspace:atoll_reads:hit_ratio5m' }),
        graph('Waiting and in flight', 'short', 'Operations at routers. Waiting: for a leader, or for the next try.', { waiting: 'sum(atoll_router_waiting_operations)', 'under way': 'sum(atoll_router_operations)', queued: 'sum(atoll_router_queued_operations)' }),
      ],
    },
    {
      title: 'Nodes',
      panels: [
        graph('Operations by node', 'ops', 'A node far above the others leads too much, or a hot key.', { '{{instance}}': `sum by (instance) (rate(atoll_operations_total${I}))` }),
        graph('Memory used', 'percentunit', 'Of the memory for entries.', { '{{instance}}': 'atoll_memory_used_bytes / atoll_memory_bytes_max' }, { alarm: 0.9 }),
        graph('Leaderships by node', 'short', 'Partitions that each node leads.', { '{{instance}}': 'atoll_replicas{role="leader"}' }),
        ...processPanels('', '{{instance}}'),
      ],
    },
    {
      title: 'etcd and RPCs',
      panels: [
        graph('Calls to etcd p99', 's', 'Slow calls delay failovers and leases of registrations, never reads and writes.', { '{{instance}}': quantile(0.99, 'atoll_etcd_request_duration_seconds', 'instance') }, { alarm: 0.5 }),
        graph('Calls to etcd', 'ops', 'By operation and outcome.', { '{{operation}} {{outcome}}': `sum by (operation, outcome) (rate(atoll_etcd_requests_total${I}))` }),
        graph('RPCs', 'ops', 'Finished calls at all services.', { '{{rpc}} {{reason}}': `sum by (rpc, reason) (rate(atoll_rpc_server_requests_total${I})) > 0 or (0 * sum(rate(atoll_rpc_server_requests_total${I})))` }),
        graph('RPCs p99', 's', 'Of unary calls.', { '{{rpc}}': quantile(0.99, 'atoll_rpc_server_duration_seconds', 'rpc') }),
      ],
    },
  ],
};

const ONE_NODE: Dashboard = {
  name: 'node',
  title: 'Atoll: one node',
  description: 'What one storage node holds and does.',
  variables: [NODE],
  rows: [
    {
      title: 'Work',
      panels: [
        graph('Operations', 'ops', 'On its Execute streams.', { '{{operation}} {{reason}}': `sum by (operation, reason) (rate(atoll_operations_total${N}${I}))` }),
        graph('Operations p99', 's', 'From the arrival at this node to the answer.', { '{{operation}}': quantile(0.99, 'atoll_operation_duration_seconds', 'operation', N) }),
        graph('Reads', 'ops', 'By whether there was an entry.', { '{{keyspace}} {{outcome}}': `rate(atoll_reads_total${N}${I})` }),
      ],
    },
    {
      title: 'Data',
      panels: [
        graph('Memory by keyspace', 'bytes', 'Entries; the bound is that of the node.', { '{{keyspace}}': `atoll_entry_bytes${N}`, bound: `atoll_memory_bytes_max${N}` }),
        graph('Log by keyspace', 'bytes', 'Replication logs, kept for replicas that return.', { '{{keyspace}}': `atoll_log_bytes${N}` }),
        graph('Entries', 'short', 'Expired ones included until they are swept.', { '{{keyspace}}': `atoll_entries${N}` }),
        graph('Removed entries', 'ops', 'Evicted: the keyspace is full.', { '{{keyspace}} {{cause}}': `rate(atoll_removed_entries_total${N}${I})` }),
        graph('Replicas by role', 'short', 'What the records give it.', { '{{role}}': `atoll_replicas${N}` }),
        graph('Disk', 'bytes', 'Only with a write-ahead log.', { free: `atoll_disk_free_bytes${N}`, log: `atoll_wal_bytes${N}`, 'not flushed': `atoll_wal_buffered_bytes${N}` }),
      ],
    },
    { title: 'Process', panels: processPanels(',instance="$node"', '{{instance}}') },
    {
      title: 'Leases and streams',
      panels: [
        graph('Leases', 'ops', 'Granted to leaders elsewhere; lost ones leave a leader silent.', { granted: `rate(atoll_lease_grants_total${N}${I})`, lost: `rate(atoll_leases_lost_total${N}${I})` }),
        graph('Clock jumps', 'short', 'Each drops all leases held.', { jumps: `increase(atoll_clock_jumps_total${N}${I})` }),
        graph('Broken replication streams', 'short', 'At either end.', { losses: `increase(atoll_replication_stream_losses_total${N}${I})` }),
      ],
    },
  ],
};

const REPLICATION: Dashboard = {
  name: 'replication',
  title: 'Atoll: replication and failover',
  description: 'Who is in sync, who lags, who took over and how fast.',
  variables: [KEYSPACE],
  rows: [
    {
      title: 'Redundancy',
      panels: [
        graph('Partitions by size of the in-sync set', 'short', 'A whole cluster has all of them at the replication factor.', { '{{replicas}} in sync': 'max by (replicas) (atoll_cluster_partitions_by_in_sync) > 0' }, { stacked: true }),
        graph('Smallest in-sync set', 'short', 'Of the partitions that a node leads.', { '{{instance}} {{keyspace}}': `atoll_in_sync_replicas${K}` }),
        graph('Partitions in trouble', 'short', 'Each of these has its alert.', { 'without a leader': 'max(atoll_cluster_partitions_without_leader)', 'under-replicated': 'max(atoll_cluster_partitions_under_replicated)', 'taking no writes': 'max(atoll_cluster_partitions_below_min_in_sync)' }),
      ],
    },
    {
      title: 'Lag',
      panels: [
        graph('Lag in entries', 'short', 'Most that one follower has yet to acknowledge.', { '{{instance}} {{keyspace}}': `atoll_replication_lag_entries${K}` }),
        graph('Lag in time', 's', 'How long a follower has lacked something.', { '{{instance}} {{keyspace}}': `atoll_replication_lag_seconds${K}` }, { alarm: 5 }),
        graph('Staleness of followers', 's', 'What BOUNDED reads may see at worst.', { '{{instance}} {{keyspace}}': `atoll_replica_staleness_seconds${K}` }),
        graph('Writes that wait for their commit', 'short', 'They wait for the slowest follower in sync.', { '{{instance}} {{keyspace}}': `atoll_uncommitted_writes${K}` }),
        graph('Changes of in-sync sets', 'ops', 'Followers that left or returned.', { '{{instance}}': `rate(atoll_in_sync_changes_total${I})` }),
        graph('Full syncs', 'short', 'Replicas that are being filled.', { '{{instance}}': 'atoll_installs_running' }),
      ],
    },
    {
      title: 'Failover',
      panels: [
        graph('Leaderships given', 'short', 'Epochs begun, planned or not.', { '{{keyspace}}': `max by (keyspace) (increase(atoll_cluster_epochs${K}${I}))` }),
        graph('Decisions', 'ops', 'PROMOTE is a failover, TRANSFER a planned one.', { '{{kind}}': `sum by (kind) (rate(atoll_coordinator_decisions_total${I})) > 0 or (0 * sum(rate(atoll_coordinator_decisions_total${I})))` }),
        graph('Taking of an office p99', 's', 'From hearing of it to serving.', { taking: quantile(0.99, 'atoll_office_taking_seconds', ''), 'wait for leases': quantile(0.99, 'atoll_promise_wait_seconds', '') }),
        graph('Role changes', 'ops', 'Replicas that took a role.', { '{{role}}': `sum by (role) (rate(atoll_role_changes_total${I}))` }),
        graph('Events', 'short', 'What operators are told.', { '{{kind}}': `sum by (kind) (increase(atoll_coordinator_events_total${I})) > 0 or (0 * sum(rate(atoll_coordinator_events_total${I})))` }),
        graph('Nodes by state', 'short', 'As the elected coordinator judges.', { '{{state}}': 'cluster:atoll_nodes:elected' }),
      ],
    },
    {
      title: 'Comparison and repair',
      panels: [
        graph('Compared sub-ranges', 'ops', 'Anything but equal is to be looked at.', { '{{result}}': `sum by (result) (rate(atoll_coordinator_verified_ranges_total${I}))` }),
        graph('Repaired', 'Bps', 'Bytes that repairs brought.', { '{{instance}}': `rate(atoll_repaired_bytes_total${I})` }),
        graph('Entries of former generations', 'short', 'Discarded ones are lost writes.', { '{{outcome}}': `sum by (outcome) (increase(atoll_former_entries_total${I}))` }),
      ],
    },
  ],
};

const MIGRATION: Dashboard = {
  name: 'migration',
  title: 'Atoll: migrations and copies',
  description: 'What moves, how fast, and what clients feel of it.',
  variables: [],
  rows: [
    {
      title: 'Jobs',
      panels: [
        graph('Migrations', 'short', 'Those of the elected coordinator.', { active: 'max(atoll_migrations_active)', '{{kind}} paused': 'sum by (kind) (atoll_migrations_paused)' }),
        graph('Partitions by step', 'short', 'A step that keeps its number is where it hangs.', { '{{step}}': 'max by (step) (atoll_migration_partitions)' }, { stacked: true }),
        graph('Ended', 'short', 'By how they ended.', { '{{state}}': `sum by (state) (increase(atoll_migrations_total${I}))` }),
        graph('Partitions done', 'ops', 'And those that went back.', { '{{result}}': `sum by (result) (rate(atoll_migration_partitions_total${I}))` }),
      ],
    },
    {
      title: 'Rate',
      panels: [
        graph('Sent', 'Bps', 'Keys and values that full syncs send.', { '{{instance}}': `rate(atoll_sync_sent_bytes_total${I})` }),
        graph('Received', 'Bps', 'What full syncs bring.', { '{{instance}}': `rate(atoll_install_bytes_total${I})` }),
        graph('Bound', 'Bps', 'What syncs may send at the moment; 0: no limit.', { '{{instance}}': 'atoll_sync_bytes_per_second' }),
        graph('Streams', 'short', 'Full syncs under way.', { 'sent by {{instance}}': 'atoll_syncs_running', 'received by {{instance}}': 'atoll_installs_running' }),
        graph('Moved', 'Bps', 'Of partitions that ended.', { bytes: `sum(rate(atoll_migration_bytes_total${I}))` }),
      ],
    },
    {
      title: 'What clients feel',
      panels: [
        graph('Pause of writes', 's', 'While a leadership moves, or a copy takes the place of its source.', { p50: quantile(0.5, 'atoll_migration_pause_seconds', ''), p99: quantile(0.99, 'atoll_migration_pause_seconds', '') }, { alarm: 0.5 }),
        graph('p99 seen by nodes', 's', 'What the throttle compares: now, and before there was a sync.', { '{{instance}} {{at}}': 'atoll_sync_client_p99_seconds' }),
        graph('Slowed writes', 'ops', 'Held back for replicas that do not keep pace.', { '{{instance}}': `rate(atoll_slowed_writes_total${I})` }),
        graph('Longest pause of one write', 's', 'At the moment.', { '{{instance}} {{keyspace}}': 'atoll_write_pause_seconds' }),
      ],
    },
    {
      title: 'Copies',
      panels: [
        graph('Lag of copies', 's', 'How old the state of the source is that a copy holds.', { '{{instance}} {{keyspace}}': 'atoll_copy_lag_seconds' }, { alarm: 30 }),
        graph('Lag of copies in entries', 'short', 'Entries of the source that a copy has yet to apply.', { '{{instance}} {{keyspace}}': 'atoll_copy_lag_entries' }),
        graph('Lag of standbys', 's', 'How old the state of the primary is that a standby holds; it grows while the primary is away.', { '{{keyspace}}': 'max by (keyspace) (atoll_standby_lag_seconds)' }, { alarm: 10 }),
        graph('Begun anew', 'short', 'Partitions of copies whose source could not be followed on.', { '{{instance}}': `increase(atoll_copy_restarts_total${I})` }),
        graph('Read by other clusters', 'Bps', 'Through the routers of this one.', { '{{instance}}': `rate(atoll_router_copy_bytes_total${I})` }),
      ],
    },
  ],
};

const BACKUPS: Dashboard = {
  name: 'backups',
  title: 'Atoll: backups',
  description: 'What is safe if the cluster is lost now, and what makes it so.',
  variables: [],
  rows: [
    {
      title: 'What is safe',
      panels: [
        stat('Services on duty', 'One. None: no backups, restores, checks, archived logs.', 'sum(atoll_backup_on_duty)'),
        stat('Repositories refused', 'Services that find another repository, or none, where the cluster has used one.', 'sum(atoll_backup_repository_refused)', { alarm: 1 }),
        stat('Schedules overdue', 'Whose newest archive, check or drill is too old.', 'sum(atoll_backup_schedule_overdue)', { alarm: 1 }),
        graph('Recovery point lag', 's', 'What was written last and would be lost with the cluster, where logs are archived.', { '{{keyspace}}': 'max by (keyspace) (atoll_backup_recovery_point_lag_seconds)' }, { alarm: 60 }),
        graph('Newest archive, check or drill', 's', 'How long ago, by schedule.', { '{{schedule}}': 'time() - max by (schedule) (atoll_backup_schedule_newest_cut_timestamp_seconds)' }),
        graph('Detached partitions', 'short', 'Archived log that goes on from no backup: a restore to a moment needs a newer one.', { '{{keyspace}}': 'max by (keyspace) (atoll_backup_log_detached_partitions)' }, { alarm: 1 }),
        graph('Archives', 'short', 'Of each schedule, that can be read.', { '{{schedule}}': 'max by (schedule) (atoll_backup_schedule_archives)' }),
      ],
    },
    {
      title: 'Jobs',
      panels: [
        graph('Rate', 'Bps', 'Keys and values that running jobs read or write.', { '{{kind}}': 'sum by (kind) (atoll_backup_job_bytes_per_second)' }),
        graph('Duration', 's', 'Of the last job of a kind that succeeded. That of a drill is about what it takes to have everything back.', { '{{kind}}': 'max by (kind) (atoll_backup_job_duration_seconds)' }),
        graph('Ended jobs', 'short', 'In the last hour, by kind and how they ended.', { '{{kind}} {{state}}': 'sum by (kind, state) (increase(atoll_backup_jobs_total[1h])) > 0 or (0 * sum(atoll_backup_jobs_total))' }),
      ],
    },
  ],
};

export const DASHBOARDS: readonly Dashboard[] = [OVERVIEW, ONE_NODE, REPLICATION, MIGRATION, BACKUPS];

import type { Metrics, Reading } from '@atoll/platform-telemetry';
import type { DiskSpace } from './disk-space.ts';
import type { HostedKeyspace } from './hosted-keyspace.ts';
import type { HostedReplica } from './hosted-replica.ts';
import type { ReplicaHost } from './replica-host.ts';
import type { Wal } from './wal/index.ts';

/** What this node holds, read when somebody asks. Labels are keyspaces and roles, never partitions (bounded). */
export function addNodeMetrics(
  metrics: Metrics,
  parts: {
    readonly host: ReplicaHost;
    readonly wal: Wal | undefined;
    readonly stalenessMs: (hosted: HostedReplica, nowMs: number) => number;
    readonly installsRunning: () => number;
    /** Of the directory of the write-ahead log. */
    readonly space: DiskSpace | undefined;
  },
): void {
  const { host, wal } = parts;
  const perKeyspace = (read: (replicas: readonly HostedReplica[]) => number) => () =>
    Array.from(host.keyspaces(), (keyspace) => ({ labels: { keyspace: keyspace.spec.name }, value: read([...keyspace.replicas()]) }));
  const sum = (read: (hosted: HostedReplica) => number) => perKeyspace((replicas) => replicas.reduce((total, hosted) => total + read(hosted), 0));

  metrics.gaugeFamily('atoll_replicas', { description: 'Replicas on this node by role.' }, () => {
    const counts = { leader: 0, follower: 0, idle: 0 };
    for (const { replica } of host.replicas()) counts[replica.role.kind] += 1;
    return Object.entries(counts).map(([role, value]) => ({ labels: { role }, value }));
  });
  metrics.gaugeFamily('atoll_entries', { description: 'Entries held, expired ones included until they are swept.' }, sum(({ replica }) => replica.state.store.entryCount));
  metrics.gaugeFamily('atoll_entry_bytes', { description: 'Memory of entries: keys, values, headers, index.', unit: 'By' }, sum(({ replica }) => replica.state.store.liveBytes));
  metrics.gaugeFamily('atoll_log_bytes', { description: 'Memory of replication logs.', unit: 'By' }, sum(({ replica }) => replica.state.log.bytes));
  metrics.gaugeFamily(
    'atoll_write_pause_seconds',
    { description: 'Longest pause by which answers of writes are held back at the moment, for replicas that are catching up.', unit: 's' },
    perKeyspace((replicas) => Math.max(0, ...replicas.map(({ replica }) => replica.leader?.answerPauseMs ?? 0)) / 1000),
  );
  metrics.gaugeFamily('atoll_uncommitted_writes', { description: 'Writes that wait for their commit.' }, sum(({ replica }) => replica.leader?.pendingCount ?? 0));
  metrics.gauge('atoll_memory_bytes_max', { description: 'Memory for entries on this node.', unit: 'By' }, () => host.memory.bytesMax);
  metrics.gauge('atoll_memory_used_bytes', { description: 'Memory of entries of all keyspaces.', unit: 'By' }, () => host.memory.usedBytes);
  metrics.gauge('atoll_installs_running', { description: 'Full syncs under way on this node.' }, () => parts.installsRunning());
  metrics.gaugeFamily(
    'atoll_replication_lag_entries',
    { description: 'Largest number of log entries that a follower of this node has yet to acknowledge.' },
    perKeyspace((replicas) => Math.max(0, ...replicas.map((hosted) => lagOf(hosted)))),
  );
  metrics.gaugeFamily(
    'atoll_replica_staleness_seconds',
    { description: 'Largest staleness of a follower on this node that knows it.', unit: 's' },
    perKeyspace((replicas) => {
      const nowMs = performance.now();
      const known = replicas.map((hosted) => parts.stalenessMs(hosted, nowMs)).filter((ms) => Number.isFinite(ms));
      return Math.max(0, ...known) / 1000;
    }),
  );
  metrics.gaugeFamily(
    'atoll_replication_lag_seconds',
    { description: 'Longest time for which a follower of this node has lacked something that its leader here had.', unit: 's' },
    perKeyspace((replicas) => {
      const nowMs = performance.now();
      return Math.max(0, ...replicas.map((hosted) => lagMsOf(hosted, nowMs))) / 1000;
    }),
  );
  metrics.gaugeFamily('atoll_in_sync_replicas', { description: 'Smallest in-sync set of the partitions that this node leads.' }, function* (): Iterable<Reading> {
    for (const keyspace of host.keyspaces()) {
      const sizes = Array.from(keyspace.replicas(), ({ replica }) => replica.leader?.record.record.inSync.length ?? Infinity);
      const smallest = Math.min(...sizes);
      if (smallest < Infinity) yield { labels: { keyspace: keyspace.spec.name }, value: smallest };
    }
  });
  const counted = (label: string, read: Readonly<Record<string, (keyspace: HostedKeyspace) => number>>) =>
    function* (): Iterable<Reading> {
      for (const keyspace of host.keyspaces()) for (const [value, count] of Object.entries(read)) yield { labels: { keyspace: keyspace.spec.name, [label]: value }, value: count(keyspace) };
    };
  metrics.observedCounter('atoll_reads_total', { description: 'Reads of single keys that were answered here, by whether there was an entry.' }, counted('outcome', { hit: ({ hits }) => hits, miss: ({ misses }) => misses }));
  metrics.observedCounter(
    'atoll_removed_entries_total',
    { description: 'Entries that replicas here removed to make room, or because they had expired.' },
    counted('cause', { evicted: ({ account }) => account.evictedEntries, expired: ({ account }) => account.expiredEntries }),
  );
  if (wal === undefined) return;
  metrics.gauge('atoll_disk_free_bytes', { description: 'Free space where the write-ahead log lies.', unit: 'By' }, () => parts.space?.read().freeBytes ?? NaN);
  metrics.gauge('atoll_disk_bytes', { description: 'Size of the file system where the write-ahead log lies.', unit: 'By' }, () => parts.space?.read().bytes ?? NaN);
  metrics.gauge('atoll_wal_bytes', { description: 'Size of the write-ahead log on disk.', unit: 'By' }, () => wal.logBytes);
  metrics.gauge('atoll_wal_buffered_bytes', { description: 'Bytes of the write-ahead log that are not on disk yet.', unit: 'By' }, () => wal.bufferedBytes);
}

function lagOf({ replica }: HostedReplica): number {
  const { leader, state } = replica;
  let lag = 0;
  for (const follower of leader?.followers() ?? []) lag = Math.max(lag, state.log.end.seq - follower.matchSeq);
  return lag;
}

function lagMsOf({ replica }: HostedReplica, nowMs: number): number {
  const { leader, state } = replica;
  let lagMs = 0;
  for (const follower of leader?.followers() ?? []) lagMs = Math.max(lagMs, follower.lagMs(state.log.end.seq, nowMs));
  return lagMs;
}

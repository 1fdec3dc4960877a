// One look at a cluster, from two readings of its services.
import { NodeState, nodeStateToJSON } from '@atoll/contracts/atoll/v1/admin';
import { hasEnded, stateName } from '../migration/migration-states.ts';
import { bytesText } from '../output/quantities.ts';
import { renderTable } from '../output/table.ts';
import { quantileBetween } from './metrics-text.ts';
import type { ServiceReading } from './services.ts';
import type { Survey } from './survey.ts';

export interface TopRow {
  readonly service: string;
  readonly state: string;
  /** null: not told. */
  readonly operationsPerSecond: number | null;
  readonly failuresPerSecond: number | null;
  /** Of operations between the two readings; null where there were none. */
  readonly p99Ms: number | null;
  /** Partitions that it leads. */
  readonly leads: number | null;
  /** Memory of entries, of a storage node. */
  readonly entryBytes: number | null;
  readonly entryBytesMax: number | null;
  /** Of the process. */
  readonly residentBytes: number | null;
  /** Largest lag of a follower of this node. */
  readonly lagEntries: number | null;
  readonly lagMs: number | null;
  /** Busy share of the event loop. */
  readonly busy: number | null;
}

export interface Look {
  readonly survey: Survey;
  /** Monotonic. */
  readonly takenMs: number;
}

const OPERATIONS: Readonly<Record<string, { readonly count: string; readonly duration: string }>> = {
  router: { count: 'atoll_router_operations_total', duration: 'atoll_router_operation_duration_seconds' },
  'storage-node': { count: 'atoll_operations_total', duration: 'atoll_operation_duration_seconds' },
  coordinator: { count: 'atoll_rpc_server_requests_total', duration: 'atoll_rpc_server_duration_seconds' },
  backup: { count: 'atoll_rpc_server_requests_total', duration: 'atoll_rpc_server_duration_seconds' },
};

/** Rates are between the two looks. */
export function topRows(former: Look, present: Look): TopRow[] {
  const seconds = Math.max((present.takenMs - former.takenMs) / 1000, 0.001);
  const before = new Map(former.survey.services.map((reading) => [keyOf(reading), reading]));
  return present.survey.services.map((reading) => rowOf(reading, before.get(keyOf(reading)), { seconds, survey: present.survey }));
}

const keyOf = ({ target }: ServiceReading): string => `${target.role} ${target.name}`;

function rowOf(reading: ServiceReading, former: ServiceReading | undefined, { seconds, survey }: { seconds: number; survey: Survey }): TopRow {
  const { target, metrics, problem } = reading;
  const { count, duration } = OPERATIONS[target.role]!;
  const isNode = target.role === 'storage-node';
  // A process that was started anew counts from 0.
  const isSame = former?.problem === undefined && former?.metrics.value('process_start_time_seconds') === metrics.value('process_start_time_seconds');
  const rate = (total: (of: ServiceReading) => number): number | null => (problem !== undefined || former === undefined || !isSame ? null : Math.max(0, total(reading) - total(former)) / seconds);
  const all = ({ metrics: of }: ServiceReading): number => of.sum(count);
  const succeeded = ({ metrics: of }: ServiceReading): number => of.sum(count, { reason: 'OK' });
  const p99 = isSame ? quantileBetween(former?.metrics, metrics, duration, 0.99) : undefined;
  const lagSeconds = metrics.max('atoll_replication_lag_seconds');
  return {
    service: target.name === target.address ? `${target.role} ${target.address}` : target.name,
    state: stateOf(reading, survey),
    operationsPerSecond: rate(all),
    failuresPerSecond: rate((of) => all(of) - succeeded(of)),
    p99Ms: p99 === undefined ? null : p99 * 1000,
    leads: isNode ? (metrics.value('atoll_replicas', { role: 'leader' }) ?? null) : null,
    entryBytes: metrics.value('atoll_memory_used_bytes') ?? null,
    entryBytesMax: metrics.value('atoll_memory_bytes_max') ?? null,
    residentBytes: metrics.value('process_memory_bytes', { kind: 'rss' }) ?? null,
    lagEntries: metrics.max('atoll_replication_lag_entries') ?? null,
    lagMs: lagSeconds === undefined ? null : lagSeconds * 1000,
    busy: metrics.value('nodejs_eventloop_utilization_ratio') ?? null,
  };
}

function stateOf({ target, problem, ready, metrics }: ServiceReading, { nodes }: Survey): string {
  const node = target.role === 'storage-node' ? nodes.value?.find(({ id }) => id === target.name) : undefined;
  if (node !== undefined && node.state !== NodeState.NODE_STATE_UP) return nodeStateToJSON(node.state).replace('NODE_STATE_', '');
  if (problem !== undefined) return 'silent';
  if (metrics.value('atoll_coordinator_elected') === 1) return 'elected';
  return ready ? 'ready' : 'not ready';
}

const number = (value: number | null, digits = 0): string => (value === null ? '-' : value.toFixed(value > 0 && value < 10 ? Math.max(digits, 1) : digits));
const bytes = (value: number | null): string => (value === null ? '-' : bytesText(value));

/** What stands above, between and below. */
export function topLines(rows: readonly TopRow[], { cluster, migrations }: Survey): string[] {
  const { value } = cluster;
  const head =
    value === undefined
      ? `no coordinator answers: ${cluster.problem}`
      : `${value.nodesUp} of ${value.nodesTotal} nodes up, ${value.partitions} partitions: ${value.partitionsWithoutLeader} without a leader, ${value.partitionsUnderReplicated} under-replicated${value.metadataRegressed.length > 0 ? '; etcd went back' : ''}`;
  const columns = [{ heading: 'SERVICE' }, { heading: 'STATE' }, ...['OPS/S', 'FAIL/S', 'P99 MS', 'LEADS', 'ENTRIES', 'OF', 'RESIDENT', 'LAG', 'LAG MS', 'LOOP'].map((heading) => ({ heading, numeric: true }))];
  const table = renderTable(
    columns,
    rows.map((row) => [row.service, row.state, number(row.operationsPerSecond), number(row.failuresPerSecond), number(row.p99Ms, 1), number(row.leads), bytes(row.entryBytes), bytes(row.entryBytesMax), bytes(row.residentBytes), number(row.lagEntries), number(row.lagMs), row.busy === null ? '-' : `${Math.round(row.busy * 100)}%`]),
  );
  const jobs = (migrations.value ?? []).filter((migration) => !hasEnded(migration)).map(({ id, state, partitionsDone, partitionsTotal, bytes: moved, description }) => `${id} ${stateName(state)}, ${partitionsDone} of ${partitionsTotal} partitions, ${bytesText(moved)}: ${description}`);
  return [head, '', ...table.split('\n'), '', ...(jobs.length === 0 ? ['no migrations'] : jobs)];
}

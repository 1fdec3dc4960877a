// What several panels and alerts ask for, computed once. Names are level:metric:operation, as Prometheus advises.

/**
 * Reasons of failures for which the cluster is to blame: not bad input, not an answer that the caller asked for
 * (KEYSPACE_NOT_FOUND), not what is repeated inside (NOT_LEADER).
 */
export const FAILURES = 'NOT_ENOUGH_REPLICAS|PARTITION_UNAVAILABLE|MEMORY_EXHAUSTED|OVERLOADED|RETRY_BUDGET_EXHAUSTED|WRITE_IN_DOUBT|PEER_UNAVAILABLE|METADATA_UNAVAILABLE|DEADLINE_EXCEEDED|SESSION_LOST|INTERNAL';

export interface RecordingRule {
  readonly record: string;
  readonly expr: string;
}

export const RECORDING_RULES: readonly RecordingRule[] = [
  // Only the elected coordinator judges nodes.
  { record: 'cluster:atoll_nodes:elected', expr: 'sum by (state) (atoll_cluster_nodes and on (instance) (atoll_coordinator_elected == 1))' },
  { record: 'cluster:atoll_partitions_without_leader:max', expr: 'max(atoll_cluster_partitions_without_leader)' },
  { record: 'cluster:atoll_partitions_under_replicated:max', expr: 'max(atoll_cluster_partitions_under_replicated)' },
  { record: 'operation:atoll_router_operations:rate2m', expr: 'sum by (operation) (rate(atoll_router_operations_total[2m]))' },
  {
    record: 'cluster:atoll_router_failures:ratio5m',
    expr: `sum(rate(atoll_router_operations_total{reason=~"${FAILURES}"}[5m])) / sum(rate(atoll_router_operations_total[5m]))`,
  },
  { record: 'operation:atoll_router_operation_duration_seconds:p50_2m', expr: 'histogram_quantile(0.5, sum by (operation, le) (rate(atoll_router_operation_duration_seconds_bucket[2m])))' },
  { record: 'operation:atoll_router_operation_duration_seconds:p99_2m', expr: 'histogram_quantile(0.99, sum by (operation, le) (rate(atoll_router_operation_duration_seconds_bucket[2m])))' },
  {
    record: 'keyspace:atoll_reads:hit_ratio5m',
    expr: 'sum by (keyspace) (rate(atoll_reads_total{outcome="hit"}[5m])) / sum by (keyspace) (rate(atoll_reads_total[5m]))',
  },
];

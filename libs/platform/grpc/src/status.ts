import { status } from '@grpc/grpc-js';
import type { ErrorReason } from '@atoll/core-errors';

/**
 * gRPC status of each reason; a reason without one does not compile. Generic clients repeat UNAVAILABLE
 * by themselves, so it stands only for failures that promise that a write got no seq (R20).
 * WRITE_IN_DOUBT is UNKNOWN: that is what is known, and no usual retry policy repeats it, unlike
 * UNAVAILABLE, ABORTED or DEADLINE_EXCEEDED; a blind repeat could apply a write twice (R21).
 */
export const STATUS_BY_REASON = {
  INVALID_ARGUMENT: status.INVALID_ARGUMENT,
  KEY_EMPTY: status.INVALID_ARGUMENT,
  KEY_TOO_LARGE: status.INVALID_ARGUMENT,
  VALUE_TOO_LARGE: status.INVALID_ARGUMENT,
  CURSOR_MALFORMED: status.INVALID_ARGUMENT,
  SESSION_MALFORMED: status.INVALID_ARGUMENT,
  WATCH_POSITION_MALFORMED: status.INVALID_ARGUMENT,
  VALUE_NOT_INTEGER: status.FAILED_PRECONDITION,
  INTEGER_OVERFLOW: status.OUT_OF_RANGE,
  KEYSPACE_NOT_FOUND: status.NOT_FOUND,
  KEYSPACE_EXISTS: status.ALREADY_EXISTS,
  NODE_NOT_FOUND: status.NOT_FOUND,
  LOCK_NOT_FOUND: status.NOT_FOUND,
  MIGRATION_NOT_FOUND: status.NOT_FOUND,
  NODE_ID_TAKEN: status.ALREADY_EXISTS,
  NOT_LEADER: status.FAILED_PRECONDITION,
  NOT_ENOUGH_REPLICAS: status.UNAVAILABLE,
  PARTITION_UNAVAILABLE: status.UNAVAILABLE,
  REPLICA_NOT_READY: status.UNAVAILABLE,
  REPLICA_TOO_STALE: status.FAILED_PRECONDITION,
  MEMORY_EXHAUSTED: status.RESOURCE_EXHAUSTED,
  OVERLOADED: status.RESOURCE_EXHAUSTED,
  SHUTTING_DOWN: status.UNAVAILABLE,
  RETRY_BUDGET_EXHAUSTED: status.RESOURCE_EXHAUSTED,
  WRITE_IN_DOUBT: status.UNKNOWN,
  PEER_UNAVAILABLE: status.UNAVAILABLE,
  SESSION_LOST: status.FAILED_PRECONDITION,
  WATCH_RESET: status.FAILED_PRECONDITION,
  WATCH_COMPACTED: status.OUT_OF_RANGE,
  WRONG_CLUSTER: status.FAILED_PRECONDITION,
  STALE_EPOCH: status.FAILED_PRECONDITION,
  STALE_GENERATION: status.FAILED_PRECONDITION,
  STALE_FENCING_TOKEN: status.FAILED_PRECONDITION,
  REPLICA_UNKNOWN: status.FAILED_PRECONDITION,
  SNAPSHOT_GONE: status.ABORTED,
  NOT_COORDINATOR: status.FAILED_PRECONDITION,
  METADATA_UNAVAILABLE: status.UNAVAILABLE,
  METADATA_CONFLICT: status.ABORTED,
  METADATA_REGRESSED: status.FAILED_PRECONDITION,
  NOTHING_TO_RECOVER: status.FAILED_PRECONDITION,
  LOCK_HELD: status.ABORTED,
  MIGRATION_CONFLICT: status.FAILED_PRECONDITION,
  CAPACITY_SHORT: status.RESOURCE_EXHAUSTED,
  CANCELLED: status.CANCELLED,
  DEADLINE_EXCEEDED: status.DEADLINE_EXCEEDED,
  INTERNAL: status.INTERNAL,
} as const satisfies Record<ErrorReason, status>;

/**
 * What a caller may do about a failure, always inside its deadline and budget:
 * - never: repeating cannot help, or might apply a write twice
 * - backoff: the same request again after a growing, jittered pause
 * - refresh-then-retry: read the partition table (or the coordinator's address) again, then repeat
 */
export type RetryAdvice = 'never' | 'backoff' | 'refresh-then-retry';

export const RETRY_ADVICE: Readonly<Record<ErrorReason, RetryAdvice>> = {
  INVALID_ARGUMENT: 'never',
  KEY_EMPTY: 'never',
  KEY_TOO_LARGE: 'never',
  VALUE_TOO_LARGE: 'never',
  CURSOR_MALFORMED: 'never',
  SESSION_MALFORMED: 'never',
  WATCH_POSITION_MALFORMED: 'never',
  VALUE_NOT_INTEGER: 'never',
  INTEGER_OVERFLOW: 'never',
  KEYSPACE_NOT_FOUND: 'never',
  KEYSPACE_EXISTS: 'never',
  NODE_NOT_FOUND: 'never',
  LOCK_NOT_FOUND: 'never',
  MIGRATION_NOT_FOUND: 'never',
  NODE_ID_TAKEN: 'never',
  NOT_LEADER: 'refresh-then-retry',
  NOT_ENOUGH_REPLICAS: 'backoff',
  PARTITION_UNAVAILABLE: 'refresh-then-retry',
  REPLICA_NOT_READY: 'refresh-then-retry',
  REPLICA_TOO_STALE: 'refresh-then-retry',
  MEMORY_EXHAUSTED: 'backoff',
  OVERLOADED: 'backoff',
  SHUTTING_DOWN: 'refresh-then-retry',
  RETRY_BUDGET_EXHAUSTED: 'never',
  WRITE_IN_DOUBT: 'never',
  PEER_UNAVAILABLE: 'refresh-then-retry',
  SESSION_LOST: 'never',
  WATCH_RESET: 'never',
  WATCH_COMPACTED: 'never',
  WRONG_CLUSTER: 'never',
  STALE_EPOCH: 'refresh-then-retry',
  STALE_GENERATION: 'refresh-then-retry',
  STALE_FENCING_TOKEN: 'never',
  REPLICA_UNKNOWN: 'refresh-then-retry',
  SNAPSHOT_GONE: 'backoff',
  NOT_COORDINATOR: 'refresh-then-retry',
  METADATA_UNAVAILABLE: 'backoff',
  METADATA_REGRESSED: 'never',
  NOTHING_TO_RECOVER: 'never',
  METADATA_CONFLICT: 'refresh-then-retry',
  LOCK_HELD: 'backoff',
  MIGRATION_CONFLICT: 'never',
  CAPACITY_SHORT: 'never',
  CANCELLED: 'never',
  DEADLINE_EXCEEDED: 'never',
  INTERNAL: 'never',
};

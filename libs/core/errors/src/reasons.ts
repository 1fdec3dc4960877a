/**
 * Every reason that Atoll gives for a failure, in one place. A reason is part of the API: programs branch
 * on it and never on message text. The gRPC status and the retry advice of each stand in platform-grpc.
 */
export const ERROR_REASONS = [
  // Bad input: never reaches a partition.
  'INVALID_ARGUMENT',
  'KEY_EMPTY',
  'KEY_TOO_LARGE',
  'VALUE_TOO_LARGE',
  'CURSOR_MALFORMED',
  'SESSION_MALFORMED',
  'WATCH_POSITION_MALFORMED',
  'VALUE_NOT_INTEGER',
  'INTEGER_OVERFLOW',
  // Things that are not there, or are there already.
  'KEYSPACE_NOT_FOUND',
  'KEYSPACE_EXISTS',
  'NODE_NOT_FOUND',
  'LOCK_NOT_FOUND',
  'MIGRATION_NOT_FOUND',
  'STANDBY_NOT_FOUND',
  'NODE_ID_TAKEN',
  // The keyspace is being copied from another one and takes no other writes (R37).
  'KEYSPACE_COPYING',
  // An operator had the keyspace frozen: it is read, and takes no writes until it is unfrozen.
  'KEYSPACE_FROZEN',
  // Another cluster has the keyspace since a cut-over (R37): it is read here, and written to there.
  'KEYSPACE_MOVED',
  // The router does not offer its keyspaces to other clusters (ROUTER_COPY_SOURCES).
  'COPY_NOT_OFFERED',
  // No router that was named of the cluster that has the source answers.
  'SOURCE_UNREACHABLE',
  // Plain failures of an operation: the write got no seq (R20) and may be repeated.
  'NOT_LEADER',
  'NOT_ENOUGH_REPLICAS',
  'PARTITION_UNAVAILABLE',
  'REPLICA_NOT_READY',
  'REPLICA_TOO_STALE',
  'MEMORY_EXHAUSTED',
  'OVERLOADED',
  'SHUTTING_DOWN',
  'RETRY_BUDGET_EXHAUSTED',
  // The write may have happened, or may still happen.
  'WRITE_IN_DOUBT',
  // The other process could not be reached or the connection broke; says nothing about what it did.
  'PEER_UNAVAILABLE',
  // The data's lineage changed: the token belongs to an older generation (R3).
  'SESSION_LOST',
  'WATCH_RESET',
  // The log is not kept that far back (R36): read the partition again.
  'WATCH_COMPACTED',
  // Between processes of one cluster.
  'WRONG_CLUSTER',
  'STALE_EPOCH',
  'STALE_GENERATION',
  'STALE_FENCING_TOKEN',
  'REPLICA_UNKNOWN',
  'SNAPSHOT_GONE',
  'NOT_COORDINATOR',
  'METADATA_UNAVAILABLE',
  'METADATA_CONFLICT',
  // etcd shows less than was seen (R13): nothing is changed until it was recovered.
  'METADATA_REGRESSED',
  'NOTHING_TO_RECOVER',
  'LOCK_HELD',
  // Another migration has one of the partitions.
  'MIGRATION_CONFLICT',
  // The target of a migration, or the whole cluster without a node, lacks memory for it.
  'CAPACITY_SHORT',
  // A copy is not ready to take the place of its source: it does not follow, is behind, or was not found equal.
  'CUT_OVER_REFUSED',
  // Archives and the repositories that keep them.
  'ARCHIVE_NOT_FOUND',
  // A chunk or manifest is missing, cut short or not what was written: `object` and `damage` in the metadata.
  'ARCHIVE_DAMAGED',
  // What is encrypted needs another key than those that were given.
  'ARCHIVE_KEY_WRONG',
  // Written by a later version in a way that this one cannot read.
  'ARCHIVE_TOO_NEW',
  // Another archive goes on from it, or somebody reads it or adds to it at this moment.
  'ARCHIVE_IN_USE',
  // Jobs of the backup service.
  'BACKUP_JOB_NOT_FOUND',
  'BACKUP_SCHEDULE_NOT_FOUND',
  // The id stands for another job.
  'BACKUP_JOB_CONFLICT',
  // Leaders could not be held at one moment, as often as that was tried (R39).
  'CUT_NOT_REACHED',
  'REPOSITORY_FULL',
  'REPOSITORY_READ_ONLY',
  'REPOSITORY_UNAVAILABLE',
  // Another repository, or none, is where this cluster has used one: storage that is not mounted looks like an empty one.
  'REPOSITORY_MISMATCH',
  'CANCELLED',
  'DEADLINE_EXCEEDED',
  'INTERNAL',
] as const;

export type ErrorReason = (typeof ERROR_REASONS)[number];

const known: ReadonlySet<string> = new Set(ERROR_REASONS);

/** A newer peer may send a reason that this process does not know. */
export function isErrorReason(text: string): text is ErrorReason {
  return known.has(text);
}

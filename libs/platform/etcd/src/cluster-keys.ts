// Where things lie in etcd, below `/atoll/v1/` (architecture.md, section 4). Partition numbers are padded so
// that a listing comes in order.

export const CLUSTER_KEY = 'cluster';
/** Written by every change of configuration, in its own transaction: its modification revision is that of the last one (R13). */
export const CHANGE_KEY = 'cluster/change';
/** The word of who recovered a cluster whose etcd had gone back (R13). */
export const RECOVERY_KEY = 'cluster/recovery';
/** Left by the first process that notices that this etcd went back: with it no change of configuration succeeds (R13). */
export const REGRESSED_KEY = 'cluster/regressed';
/** Written again and again to raise etcd's revision (R13). */
export const FILLER_KEY = 'cluster/filler';
export const ELECTION_PREFIX = 'coordinator/';
export const NODES_PREFIX = 'nodes/';
export const NODE_SPECS_PREFIX = 'node-specs/';
export const KEYSPACES_PREFIX = 'keyspaces/';
export const PARTITIONS_PREFIX = 'partitions/';
export const LOCKS_PREFIX = 'locks/';
/** Locks of processes that do one job at a time, by name. Not those of clients. */
export const HELD_LOCKS_PREFIX = 'held-locks/';
export const EVENTS_PREFIX = 'events/';
/** Jobs of migration by id; what each does to a partition, by partition: one at a time (R38); and how that ended, by job. */
export const MIGRATIONS_PREFIX = 'jobs/migrations/';
export const OPERATORS_PREFIX = 'jobs/operators/';
export const RESULTS_PREFIX = 'jobs/results/';
/** Copies of keyspaces, by the id of the migration (R37). */
export const COPIES_PREFIX = 'jobs/copies/';
/** Compared by every write of migrations, operators and results, and written where one was lost: it is settled by that (R7). */
export const MIGRATIONS_TURN_KEY = 'jobs/turn';

/** Jobs of the backup service by id: backups, restores, checks of archives. */
export const BACKUP_JOBS_PREFIX = 'jobs/backups/';
/** When backups begin by themselves, by name. */
export const BACKUP_SCHEDULES_PREFIX = 'jobs/backup-schedules/';

/** Which repository the backups of this cluster are in. */
export const BACKUP_REPOSITORY_KEY = 'jobs/backup-repository';

export const nodeKey = (id: string): string => `${NODES_PREFIX}${id}`;
export const nodeSpecKey = (id: string): string => `${NODE_SPECS_PREFIX}${id}`;
export const keyspaceKey = (name: string): string => `${KEYSPACES_PREFIX}${name}`;
export const partitionPrefix = (keyspace: string): string => `${PARTITIONS_PREFIX}${keyspace}/`;
export const partitionKey = (keyspace: string, partition: number): string =>
  `${partitionPrefix(keyspace)}${String(partition).padStart(4, '0')}`;

export const migrationKey = (id: string): string => `${MIGRATIONS_PREFIX}${id}`;
export const backupJobKey = (id: string): string => `${BACKUP_JOBS_PREFIX}${id}`;
export const backupScheduleKey = (name: string): string => `${BACKUP_SCHEDULES_PREFIX}${name}`;
export const copyKey = (id: string): string => `${COPIES_PREFIX}${id}`;
export const operatorKey = (keyspace: string, partition: number): string => `${OPERATORS_PREFIX}${keyspace}/${String(partition).padStart(4, '0')}`;
export const resultsPrefix = (job: string): string => `${RESULTS_PREFIX}${job}/`;
export const resultKey = (job: string, keyspace: string, partition: number): string => `${resultsPrefix(job)}${keyspace}/${String(partition).padStart(4, '0')}`;

const PARTITION_KEY = /^partitions\/([^/]+)\/(\d{4})$/;

/** Undefined for a key that is not a partition's. */
export function parsePartitionKey(key: string): { readonly keyspace: string; readonly partition: number } | undefined {
  const match = PARTITION_KEY.exec(key);
  return match === null ? undefined : { keyspace: match[1]!, partition: Number(match[2]) };
}

const CONFIGURATION = [KEYSPACES_PREFIX, PARTITIONS_PREFIX, NODE_SPECS_PREFIX, 'jobs/'];

/** What R13 guards: what stays when its writer is gone, and is acted on by others. Registrations, elections, locks and events are not. */
export const isConfiguration = (key: string): boolean => CONFIGURATION.some((prefix) => key.startsWith(prefix));

// Keys of etcd and names that all parts of a world share.
export const KEYSPACE = 'default';
export const KEYSPACE_ID = 'k';
export const NODES = 'nodes/';
export const SPECS = 'specs/';
export const PARTITIONS = 'partitions/';
/** Migrations: jobs, what they do to each partition, and how that ended. Nobody watches them. */
export const JOBS = 'jobs/';
export const MIGRATIONS = `${JOBS}migrations/`;
export const OPERATORS = `${JOBS}operators/`;
export const TURN_KEY = `${JOBS}turn`;
export const RESULTS = `${JOBS}results/`;
export const ELECTION_KEY = 'election/coordinator';
/** Written by every change of configuration; by who finds that etcd went back; by who recovered it (R13). */
export const CHANGE_KEY = 'metadata/change';
export const REGRESSED_KEY = 'metadata/regressed';
export const RECOVERY_KEY = 'metadata/recovery';

/** What etcd must not show older than it was; registrations and elections are facts of processes that live now. */
export const isConfiguration = (key: string): boolean => key.startsWith(PARTITIONS) || key.startsWith(SPECS) || key.startsWith(JOBS);

export const partitionKey = (partition: number): string => `${PARTITIONS}${partition}`;
export const nodeKey = (id: string): string => `${NODES}${id}`;
export const specKey = (id: string): string => `${SPECS}${id}`;
export const jobKey = (id: string): string => `${MIGRATIONS}${id}`;
export const operatorKey = (partition: number): string => `${OPERATORS}${partition}`;
export const resultKey = (job: string, partition: number): string => `${RESULTS}${job}/${partition}`;

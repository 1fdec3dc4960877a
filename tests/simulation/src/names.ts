// Keys of etcd and names that all parts of a world share.
export const KEYSPACE = 'default';
export const KEYSPACE_ID = 'k';
export const NODES = 'nodes/';
export const SPECS = 'specs/';
export const PARTITIONS = 'partitions/';
export const ELECTION_KEY = 'election/coordinator';
/** Written by every change of configuration; by who finds that etcd went back; by who recovered it (R13). */
export const CHANGE_KEY = 'metadata/change';
export const REGRESSED_KEY = 'metadata/regressed';
export const RECOVERY_KEY = 'metadata/recovery';

/** What etcd must not show older than it was; registrations and elections are facts of processes that live now. */
export const isConfiguration = (key: string): boolean => key.startsWith(PARTITIONS) || key.startsWith(SPECS);

export const partitionKey = (partition: number): string => `${PARTITIONS}${partition}`;
export const nodeKey = (id: string): string => `${NODES}${id}`;
export const specKey = (id: string): string => `${SPECS}${id}`;

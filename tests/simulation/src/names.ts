// Keys of etcd and names that all parts of a world share.
export const KEYSPACE = 'default';
export const KEYSPACE_ID = 'k';
export const NODES = 'nodes/';
export const SPECS = 'specs/';
export const PARTITIONS = 'partitions/';
export const ELECTION_KEY = 'election/coordinator';

export const partitionKey = (partition: number): string => `${PARTITIONS}${partition}`;
export const nodeKey = (id: string): string => `${NODES}${id}`;
export const specKey = (id: string): string => `${SPECS}${id}`;

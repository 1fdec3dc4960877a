// Keys of etcd and names that all parts of a world share.
export const KEYSPACE = 'default';
export const KEYSPACE_ID = 'k';
export const KEYSPACES = 'keyspaces/';
export const NODES = 'nodes/';
export const SPECS = 'specs/';
export const PARTITIONS = 'partitions/';
/** Migrations: jobs, what they do to each partition, and how that ended. Nobody watches them. */
export const JOBS = 'jobs/';
export const MIGRATIONS = `${JOBS}migrations/`;
export const OPERATORS = `${JOBS}operators/`;
/** Copies of keyspaces (R37). */
export const COPIES = `${JOBS}copies/`;
export const TURN_KEY = `${JOBS}turn`;
export const RESULTS = `${JOBS}results/`;
export const ELECTION_KEY = 'election/coordinator';
/** Written by every change of configuration; by who finds that etcd went back; by who recovered it (R13). */
export const CHANGE_KEY = 'metadata/change';
export const REGRESSED_KEY = 'metadata/regressed';
export const RECOVERY_KEY = 'metadata/recovery';

/** What etcd must not show older than it was; registrations and elections are facts of processes that live now. */
export const isConfiguration = (key: string): boolean => key.startsWith(PARTITIONS) || key.startsWith(KEYSPACES) || key.startsWith(SPECS) || key.startsWith(JOBS);

/** Of all keyspaces of a world under one number: the partitions of `default`, then, from so many on each, those of the copies. */
const SLOTS = 100;
const COPY = 'copy-';
export const copyName = (number: number): string => `${COPY}${number}`;
export const keyspaceIdOf = (keyspace: string): string => (keyspace === KEYSPACE ? KEYSPACE_ID : `k${keyspace.slice(COPY.length)}`);
export const slotOf = ({ keyspace, partition }: { readonly keyspace: string; readonly partition: number }): number => (keyspace === KEYSPACE ? 0 : SLOTS * Number(keyspace.slice(COPY.length))) + partition;
export const placeOfSlot = (slot: number): { readonly keyspace: string; readonly partition: number } => ({ keyspace: slot < SLOTS ? KEYSPACE : copyName(Math.floor(slot / SLOTS)), partition: slot % SLOTS });

export const partitionKey = (slot: number): string => `${PARTITIONS}${slot}`;
export const keyspaceKey = (name: string): string => `${KEYSPACES}${name}`;
export const copyKey = (id: string): string => `${COPIES}${id}`;
export const nodeKey = (id: string): string => `${NODES}${id}`;
export const specKey = (id: string): string => `${SPECS}${id}`;
export const jobKey = (id: string): string => `${MIGRATIONS}${id}`;
export const operatorKey = (slot: number): string => `${OPERATORS}${slot}`;
export const resultKey = (job: string, slot: number): string => `${RESULTS}${job}/${slot}`;

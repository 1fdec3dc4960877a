import { KIB, MIB } from './units.ts';

// Limits that every service checks alike. They bound what one request can hold (I10).

export const KEY_BYTES_MIN = 1;
export const KEY_BYTES_MAX = 4 * KIB;
export const VALUE_BYTES_MAX = 64 * MIB;
/** A value above this size travels between processes in parts of at most this size (R24). */
export const WIRE_PART_BYTES_MAX = 1 * MIB;
export const KEYSPACE_NAME_MAX = 64;
export const PARTITION_COUNT_MAX = 4096;
export const REPLICATION_FACTOR_MAX = 7;
/** 10 years. */
export const TTL_MS_MAX = 10 * 365 * 24 * 3600 * 1000;
/** Name of the keyspace that always exists. */
export const DEFAULT_KEYSPACE = 'default';

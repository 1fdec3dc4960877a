import { MAIN_POOL, POOL_NAME_RANGE } from '@atoll/core-membership';
import type { ResultTableOptions } from '@atoll/core-replication';
import { GIB, KIB, MIB } from '@atoll/core-runtime';
import {
  COMMON_PREFIX,
  COMMON_RELATIONS,
  bytes,
  commonSettings,
  defineSetting,
  durationMs,
  integer,
  optional,
  parseSettings,
  shownSettings,
  text,
  toCommonConfig,
  type CommonConfig,
  type Env,
} from '@atoll/platform-config';

const parseWeight = (value: string): number | undefined => {
  const weight = Number(value);
  return weight >= 0.01 && weight <= 100 ? weight : undefined;
};

const parseImpact = (value: string): number | undefined => {
  const impact = Number(value);
  return value.trim() !== '' && (impact === 0 || (impact >= 1.1 && impact <= 100)) ? impact : undefined;
};

export const STORAGE_NODE_SETTINGS = {
  ...commonSettings({ id: 'node-1', listen: '127.0.0.1:7410' }),
  STORAGE_NODE_ZONE: text({
    default: 'default',
    pattern: /^[A-Za-z0-9_.-]{1,64}$/,
    range: '1 to 64 characters of A-Z, a-z, 0-9, _, . and -',
    description: 'Failure domain: replicas of one partition lie in different zones where there are enough.',
  }),
  STORAGE_NODE_POOL: text({
    default: MAIN_POOL,
    pattern: /^[a-z][a-z0-9_-]{0,63}$/,
    range: POOL_NAME_RANGE,
    description: 'Pool of the node: it holds keyspaces of that pool and no others. Fixed by its first registration: for another pool, another ATOLL_ID.',
  }),
  STORAGE_NODE_WEIGHT: defineSetting<number>('a number from 0.01 to 100', parseWeight, {
    default: '1',
    description: 'Share of partitions relative to other nodes.',
  }),
  STORAGE_NODE_MEMORY_BYTES_MAX: bytes({ min: MIB, max: 24 * GIB, default: '1GiB', description: 'Memory for entries of all keyspaces together.' }),
  STORAGE_NODE_DATA_DIR: optional(
    text({ description: 'Directory of the write-ahead log. Needed by keyspaces with durability ASYNC or SYNC.' }),
    'no log: only keyspaces with durability NONE',
  ),
  STORAGE_NODE_REGISTRATION_TTL_MS: durationMs({
    min: 1000,
    max: 600_000,
    default: '10000',
    description: 'The registration of a node that vanished lapses after at most this long. Fells nobody: heartbeats do (R11).',
  }),
  STORAGE_NODE_LEASE_MS: durationMs({
    min: 100,
    max: 600_000,
    default: '1000',
    description: 'A replica that granted its leader a lease leads no later epoch for so long (R14): how long a failover has to wait at least. The same on all nodes.',
  }),
  STORAGE_NODE_CLOCK_DRIFT_MS: durationMs({
    min: 20,
    max: 60_000,
    default: '50',
    description: 'How far the clocks of two nodes, or two clocks of one, may part while a lease stands; a lease counts for so much less, and a larger jump drops all (R17).',
  }),
  STORAGE_NODE_HEARTBEAT_MS: durationMs({ min: 10, max: 10_000, default: '100', description: 'Interval of heartbeats, on replication streams and for leases.' }),
  STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS: durationMs({
    min: 50,
    max: 60_000,
    default: '600',
    description: 'A follower that makes no progress for this long leaves the in-sync set.',
  }),
  STORAGE_NODE_REJOIN_AFTER_MS: durationMs({ min: 0, max: 600_000, default: '1000', description: 'Time without lag after which it returns.' }),
  STORAGE_NODE_TAKE_OFFICE_MS: durationMs({
    min: 100,
    max: 600_000,
    default: '1000',
    description: 'An office that is not taken for so long, beyond the wait for leases, is reported to the coordinator, which passes over to another replica (R27).',
  }),
  STORAGE_NODE_FENCE_AFTER_MS: durationMs({
    min: 1000,
    max: 3_600_000,
    default: '120000',
    description: 'In keyspaces with onDataLoss RESET, or with a standby on another pool, a leader that could not read its record in etcd for so long stops (R15). At most the COORDINATOR_FENCE_AFTER_MS of the coordinators.',
  }),
  STORAGE_NODE_UNCOMMITTED_BYTES_MAX: bytes({
    min: 66 * MIB,
    max: 4 * GIB,
    default: '128MiB',
    description: 'Bytes of one partition that may wait for their commit before writes are refused.',
  }),
  STORAGE_NODE_LOG_BYTES_MAX: bytes({
    min: 64 * KIB,
    max: 16 * GIB,
    default: '2MiB',
    description: 'Log that each partition keeps in memory for replicas that return, while nobody is away.',
  }),
  STORAGE_NODE_LOG_TOTAL_BYTES_MAX: bytes({
    min: MIB,
    max: 64 * GIB,
    default: '512MiB',
    description: 'Log of all partitions in memory; what the others leave goes to those whose followers are away or behind, so that these need no full sync.',
  }),
  STORAGE_NODE_SYNC_BYTES_PER_SECOND: integer({
    min: 0,
    max: 64 * GIB,
    default: '67108864',
    description: 'Bytes of keys and values that full syncs from this node send in a second at most, all together; while clients are served each entry counts as 1 KiB beside its own. 0 means no limit. The coordinator may ask for less; STORAGE_NODE_SYNC_MAX_IMPACT slows them further while clients feel them.',
  }),
  STORAGE_NODE_SYNC_MAX_IMPACT: defineSetting<number>('0, or a number from 1.1 to 100', parseImpact, {
    default: '2',
    description: 'Full syncs go slower when the p99 of clients of this node is beyond so many times what it was before; 0: only the bound of bytes counts.',
  }),
  STORAGE_NODE_SYNCS_MAX: integer({ min: 1, max: 1024, default: '8', description: 'Full syncs that this node sends at a time, beside 32 streams of those that are split; others wait and come again.' }),
  STORAGE_NODE_RESULT_WINDOW_MS: durationMs({
    min: 1000,
    max: 600_000,
    default: '30000',
    description: 'How long results of writes are remembered, so that a write that comes again is done once (R21). Each write of that time takes about 76 bytes on every replica.',
  }),
  STORAGE_NODE_RESULTS_MAX: integer({
    min: 16,
    max: 16_777_216,
    default: '262144',
    description: 'Results that each replica remembers at most; beyond it the oldest go before their time, and their repeats are WRITE_IN_DOUBT.',
  }),
  STORAGE_NODE_WATCHES_MAX: integer({ min: 0, max: 2000, default: '1000', description: 'Watch streams at a time; further ones hear OVERLOADED.' }),
} as const;

export interface Config extends CommonConfig {
  readonly zone: string;
  readonly pool: string;
  readonly weight: number;
  readonly memoryBytesMax: number;
  /** undefined: no write-ahead log. */
  readonly dataDir: string | undefined;
  readonly registrationTtlMs: number;
  readonly leaseMs: number;
  readonly clockDriftMs: number;
  readonly takeOfficeMs: number;
  readonly fenceAfterMs: number;
  readonly heartbeatMs: number;
  readonly followerAckTimeoutMs: number;
  readonly rejoinAfterMs: number;
  readonly uncommittedBytesMax: number;
  readonly logBytesMax: number;
  readonly logTotalBytesMax: number;
  readonly syncBytesPerSecond: number;
  readonly syncMaxImpact: number;
  readonly syncsMax: number;
  readonly results: ResultTableOptions;
  readonly watchesMax: number;
}

/** Throws ConfigError that lists everything that is wrong. */
export function readConfig(env: Env): Config {
  const values = parseSettings(STORAGE_NODE_SETTINGS, env, {
    prefixes: [COMMON_PREFIX, 'STORAGE_NODE_'],
    relations: [
      ...COMMON_RELATIONS,
      {
        settings: ['STORAGE_NODE_HEARTBEAT_MS', 'STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS'],
        problem: ({ STORAGE_NODE_HEARTBEAT_MS: heartbeat, STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS: timeout }) =>
          timeout < 2 * heartbeat ? 'STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS must be at least twice STORAGE_NODE_HEARTBEAT_MS (R24)' : undefined,
      },
      {
        settings: ['STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS', 'STORAGE_NODE_LEASE_MS'],
        problem: ({ STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS: timeout, STORAGE_NODE_LEASE_MS: lease }) =>
          timeout >= lease ? 'STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS must be below STORAGE_NODE_LEASE_MS (R24)' : undefined,
      },
      {
        settings: ['STORAGE_NODE_CLOCK_DRIFT_MS', 'STORAGE_NODE_LEASE_MS'],
        problem: ({ STORAGE_NODE_CLOCK_DRIFT_MS: drift, STORAGE_NODE_LEASE_MS: lease }) =>
          drift * 4 > lease ? 'STORAGE_NODE_CLOCK_DRIFT_MS must be at most a quarter of STORAGE_NODE_LEASE_MS (R14)' : undefined,
      },
    ],
  });
  return Object.freeze({
    ...toCommonConfig(values, shownSettings(STORAGE_NODE_SETTINGS, env)),
    zone: values.STORAGE_NODE_ZONE,
    pool: values.STORAGE_NODE_POOL,
    weight: values.STORAGE_NODE_WEIGHT,
    memoryBytesMax: values.STORAGE_NODE_MEMORY_BYTES_MAX,
    dataDir: values.STORAGE_NODE_DATA_DIR,
    registrationTtlMs: values.STORAGE_NODE_REGISTRATION_TTL_MS,
    leaseMs: values.STORAGE_NODE_LEASE_MS,
    clockDriftMs: values.STORAGE_NODE_CLOCK_DRIFT_MS,
    takeOfficeMs: values.STORAGE_NODE_TAKE_OFFICE_MS,
    fenceAfterMs: values.STORAGE_NODE_FENCE_AFTER_MS,
    heartbeatMs: values.STORAGE_NODE_HEARTBEAT_MS,
    followerAckTimeoutMs: values.STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS,
    rejoinAfterMs: values.STORAGE_NODE_REJOIN_AFTER_MS,
    uncommittedBytesMax: values.STORAGE_NODE_UNCOMMITTED_BYTES_MAX,
    logBytesMax: values.STORAGE_NODE_LOG_BYTES_MAX,
    logTotalBytesMax: values.STORAGE_NODE_LOG_TOTAL_BYTES_MAX,
    syncBytesPerSecond: values.STORAGE_NODE_SYNC_BYTES_PER_SECOND,
    syncMaxImpact: values.STORAGE_NODE_SYNC_MAX_IMPACT,
    syncsMax: values.STORAGE_NODE_SYNCS_MAX,
    results: Object.freeze({ windowMs: values.STORAGE_NODE_RESULT_WINDOW_MS, countMax: values.STORAGE_NODE_RESULTS_MAX }),
    watchesMax: values.STORAGE_NODE_WATCHES_MAX,
  });
}

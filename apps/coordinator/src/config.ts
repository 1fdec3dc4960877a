import { GIB, KIB } from '@atoll/core-runtime';
import {
  COMMON_PREFIX,
  COMMON_RELATIONS,
  ConfigError,
  bytes,
  choice,
  commonSettings,
  durationMs,
  integer,
  optional,
  parseSettings,
  shownSettings,
  text,
  toCommonConfig,
  type CommonConfig,
  type Env,
  type Relation,
} from '@atoll/platform-config';

export const COORDINATOR_PREFIX = 'COORDINATOR_';

export const SETTINGS = {
  ...commonSettings({ id: 'coordinator-1', listen: '127.0.0.1:7420' }),
  COORDINATOR_ELECTION_TTL_MS: durationMs({
    min: 1000,
    max: 60_000,
    default: '3000',
    description: 'A coordinator that died is followed after at most so long; a small value deposes one that pauses.',
  }),
  COORDINATOR_TICK_MS: durationMs({ min: 10, max: 10_000, default: '250', description: 'Time between decisions while nothing changes.' }),
  COORDINATOR_GRACE_MS: durationMs({ min: 0, max: 60_000, default: '250', description: 'Time that a newly elected coordinator watches before its first decision.' }),
  COORDINATOR_HEARTBEAT_MS: durationMs({ min: 20, max: 10_000, default: '100', description: 'Time between the heartbeats to each node.' }),
  COORDINATOR_SUSPECT_AFTER_MS: durationMs({
    min: 50,
    max: 60_000,
    default: '300',
    description: 'A node that is silent for so long is suspected: other nodes are asked whether they reach it.',
  }),
  COORDINATOR_DOWN_AFTER_MS: durationMs({
    min: 100,
    max: 600_000,
    default: '900',
    description: 'A node that nobody hears for so long is down and loses its leaderships: sooner shortens a failure and moves leaders for a mere pause.',
  }),
  COORDINATOR_ETCD_LOST_MS: durationMs({
    min: 500,
    max: 600_000,
    default: '3s',
    description: 'A node that etcd does not answer for so long, while it answers the coordinator, counts as cut off from etcd.',
  }),
  COORDINATOR_SETTLE_MS: durationMs({
    min: 0,
    max: 60_000,
    default: '1000',
    description: 'The first keyspace is placed when no node has joined for so long, so that nodes which start together share it.',
  }),
  COORDINATOR_SETTLE_MS_MAX: durationMs({ min: 0, max: 600_000, default: '5000', description: 'Longest wait for that after the first node has joined.' }),
  COORDINATOR_LEARNERS_PER_NODE_MAX: integer({
    min: 1,
    max: 4096,
    default: '8',
    description: 'Replicas that one node fills at a time: more spread data sooner and slow its clients down. A migration with method SHARDED may have it fill more, by 32 streams at most.',
  }),
  COORDINATOR_MIGRATIONS_MAX: integer({ min: 1, max: 4096, default: '32', description: 'Partitions that migrations copy at a time in the whole cluster.' }),
  COORDINATOR_RE_REPLICATE_AFTER_MS: durationMs({
    min: 1000,
    max: 7 * 24 * 3_600_000,
    default: '5m',
    description: 'The replicas of a node that is away are placed elsewhere after so long: sooner restores redundancy earlier and copies data for a mere restart.',
  }),
  COORDINATOR_FAILOVER_ACTIVE: choice(['off', 'drain-only', 'on'], {
    default: 'on',
    description:
      'Leaderships that are handed over before anything fails. drain-only: from nodes that stop or are drained. on: also from nodes whose health degrades, and to spread leaders evenly.',
  }),
  COORDINATOR_HAND_OVERS_MAX: integer({ min: 1, max: 64, default: '16', description: 'Partitions handed over at a time at most, fewer where time allows: writes to each of them wait for some milliseconds. Where no leader is in trouble a rest of up to 150 ms follows, shorter where many are to go.' }),
  COORDINATOR_HAND_OVER_HOLD_MS: durationMs({
    min: 50,
    max: 10_000,
    default: '500',
    description: 'A leader that has given up its office takes it back when no successor was named for so long.',
  }),
  COORDINATOR_FENCE_AFTER_MS: durationMs({
    min: 1000,
    max: 3_600_000,
    default: '2m',
    description:
      'A partition of a keyspace with onDataLoss RESET that nobody can lead starts again, empty, after so long, and a standby on another pool takes the place of a keyspace of which nobody knows whether it is led; not below STORAGE_NODE_FENCE_AFTER_MS of any node, after which an old leader has stopped by itself.',
  }),
  COORDINATOR_INVENTORY_MS: durationMs({ min: 100, max: 600_000, default: '15s', description: 'Time between questions to a node about what it holds.' }),
  COORDINATOR_DEFAULT_REPLICATION_FACTOR: integer({ min: 1, max: 7, default: '2', description: 'Replicas of the keyspace "default" when it is created.' }),
  COORDINATOR_DEFAULT_DURABILITY: choice(['NONE', 'ASYNC', 'SYNC'], {
    default: 'NONE',
    description: 'Durability of the keyspace "default" when it is created; it is fixed from then on.',
  }),
  COORDINATOR_VERIFY_EVERY_MS: durationMs({
    min: 0,
    max: 7 * 24 * 3_600_000,
    default: '1h',
    description: 'The replicas of every partition are compared, and repaired, once in so long (R34); 0 for only when asked.',
  }),
  COORDINATOR_VERIFY_PARTITIONS_PER_SECOND: integer({ min: 1, max: 1000, default: '4', description: 'Partitions that the background pass compares in a second at most.' }),
  COORDINATOR_REPAIR_BYTES_PER_SECOND: bytes({
    min: 64 * KIB,
    max: 16 * GIB,
    default: '32MiB',
    description: 'Keys and values that the repair of one replica installs in a second at most, and that a node reads in a second at most for migrations that compare each entry.',
  }),
  COORDINATOR_NODE_CALL_MS: durationMs({ min: 100, max: 60_000, default: '3s', description: 'Deadline of a call to a node.' }),
  COORDINATOR_FAILPOINTS_DIR: optional(
    text({
      pattern: /^\//,
      range: 'an absolute path',
      description: 'For tests alone: migrations of partitions stand still where files in this directory say so. Refused where NODE_ENV is production.',
    }),
    'not set: there are none',
  ),
};

const RELATIONS: readonly Relation<typeof SETTINGS>[] = [
  ...(COMMON_RELATIONS as readonly Relation<typeof SETTINGS>[]),
  {
    settings: ['COORDINATOR_HEARTBEAT_MS', 'COORDINATOR_SUSPECT_AFTER_MS'],
    problem: ({ COORDINATOR_HEARTBEAT_MS: heartbeat, COORDINATOR_SUSPECT_AFTER_MS: suspect }) =>
      2 * heartbeat > suspect ? 'COORDINATOR_SUSPECT_AFTER_MS must be at least twice COORDINATOR_HEARTBEAT_MS' : undefined,
  },
  {
    settings: ['COORDINATOR_SUSPECT_AFTER_MS', 'COORDINATOR_DOWN_AFTER_MS'],
    problem: ({ COORDINATOR_SUSPECT_AFTER_MS: suspect, COORDINATOR_DOWN_AFTER_MS: down }) =>
      2 * suspect > down ? 'COORDINATOR_DOWN_AFTER_MS must be at least twice COORDINATOR_SUSPECT_AFTER_MS' : undefined,
  },
  {
    settings: ['COORDINATOR_SETTLE_MS', 'COORDINATOR_SETTLE_MS_MAX'],
    problem: ({ COORDINATOR_SETTLE_MS: settle, COORDINATOR_SETTLE_MS_MAX: max }) =>
      settle > max ? 'COORDINATOR_SETTLE_MS must not be above COORDINATOR_SETTLE_MS_MAX' : undefined,
  },
];

export interface Config {
  readonly common: CommonConfig;
  readonly electionTtlMs: number;
  readonly tickMs: number;
  readonly graceMs: number;
  readonly heartbeatMs: number;
  readonly suspectAfterMs: number;
  readonly downAfterMs: number;
  readonly etcdLostMs: number;
  readonly settleMs: number;
  readonly settleMsMax: number;
  readonly learnersPerNodeMax: number;
  readonly migrationsMax: number;
  readonly reReplicateAfterMs: number;
  readonly failoverActive: 'off' | 'drain-only' | 'on';
  readonly handOversMax: number;
  readonly handOverHoldMs: number;
  readonly fenceAfterMs: number;
  readonly inventoryMs: number;
  readonly verifyEveryMs: number;
  readonly verifyPartitionsPerSecond: number;
  readonly repairBytesPerSecond: number;
  readonly nodeCallMs: number;
  /** Directory of the files that hold migrations (migration/failpoints.ts); undefined wherever clients are served. */
  readonly failpointsDir: string | undefined;
  readonly defaultKeyspace: { readonly replicationFactor: number; readonly durability: 'NONE' | 'ASYNC' | 'SYNC' };
}

/** Throws one ConfigError with every problem. */
export function parseConfig(env: Env): Config {
  const values = parseSettings(SETTINGS, env, { prefixes: [COMMON_PREFIX, COORDINATOR_PREFIX], relations: RELATIONS });
  if (values.COORDINATOR_FAILPOINTS_DIR !== undefined && env['NODE_ENV'] === 'production') {
    throw new ConfigError(['COORDINATOR_FAILPOINTS_DIR is for tests and must not be set where NODE_ENV is production']);
  }
  return Object.freeze({
    common: toCommonConfig(values, shownSettings(SETTINGS, env)),
    electionTtlMs: values.COORDINATOR_ELECTION_TTL_MS,
    tickMs: values.COORDINATOR_TICK_MS,
    graceMs: values.COORDINATOR_GRACE_MS,
    heartbeatMs: values.COORDINATOR_HEARTBEAT_MS,
    suspectAfterMs: values.COORDINATOR_SUSPECT_AFTER_MS,
    downAfterMs: values.COORDINATOR_DOWN_AFTER_MS,
    etcdLostMs: values.COORDINATOR_ETCD_LOST_MS,
    settleMs: values.COORDINATOR_SETTLE_MS,
    settleMsMax: values.COORDINATOR_SETTLE_MS_MAX,
    learnersPerNodeMax: values.COORDINATOR_LEARNERS_PER_NODE_MAX,
    migrationsMax: values.COORDINATOR_MIGRATIONS_MAX,
    reReplicateAfterMs: values.COORDINATOR_RE_REPLICATE_AFTER_MS,
    failoverActive: values.COORDINATOR_FAILOVER_ACTIVE,
    handOversMax: values.COORDINATOR_HAND_OVERS_MAX,
    handOverHoldMs: values.COORDINATOR_HAND_OVER_HOLD_MS,
    fenceAfterMs: values.COORDINATOR_FENCE_AFTER_MS,
    inventoryMs: values.COORDINATOR_INVENTORY_MS,
    verifyEveryMs: values.COORDINATOR_VERIFY_EVERY_MS,
    verifyPartitionsPerSecond: values.COORDINATOR_VERIFY_PARTITIONS_PER_SECOND,
    repairBytesPerSecond: values.COORDINATOR_REPAIR_BYTES_PER_SECOND,
    nodeCallMs: values.COORDINATOR_NODE_CALL_MS,
    failpointsDir: values.COORDINATOR_FAILPOINTS_DIR,
    defaultKeyspace: Object.freeze({
      replicationFactor: values.COORDINATOR_DEFAULT_REPLICATION_FACTOR,
      durability: values.COORDINATOR_DEFAULT_DURABILITY,
    }),
  });
}

import { GIB, KIB, MIB } from '@atoll/core-runtime';
import {
  COMMON_PREFIX,
  COMMON_RELATIONS,
  bytes,
  choice,
  commonSettings,
  defineSetting,
  durationMs,
  endpoint,
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
import { LOCATION_RANGE, parseRepositoryLocation, type RepositoryLocation } from '@atoll/platform-repository';

export const BACKUP_PREFIX = 'BACKUP_';

export const SETTINGS = {
  ...commonSettings({ id: 'backup-1', listen: '127.0.0.1:7430' }),
  BACKUP_REPOSITORY: defineSetting(LOCATION_RANGE, parseRepositoryLocation, {
    default: 'atoll-backup',
    description: 'Where archives are: a directory, made when it is missing, or a bucket of S3, which has to be there. It should lie on other storage than the cluster: a relative path is below the working directory.',
  }),
  BACKUP_S3_ENDPOINT: optional(
    endpoint({ description: 'Server of the bucket, addressed by path. Credentials are found as the AWS SDK does: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY first.' }),
    'AWS itself',
  ),
  BACKUP_S3_REGION: text({ default: 'us-east-1', pattern: /^[a-z0-9-]{1,64}$/, range: '1 to 64 characters of a-z, 0-9 and -', description: 'Region of the bucket; other servers than AWS mostly take any.' }),
  BACKUP_PROBE_MS: durationMs({ min: 100, max: 600_000, default: '10s', description: 'Time after which a repository that does not answer counts as not writable.' }),
  BACKUP_ETCD_CHECK_MS: durationMs({ min: 50, max: 60_000, default: '1s', description: 'Time between checks that etcd answers, for readiness.' }),
  BACKUP_LOCK_TTL_MS: durationMs({ min: 1000, max: 600_000, default: '10s', description: 'Of several backup services one does the jobs; when it dies another one goes on after about this time. Longer than short outages of etcd, which interrupt jobs otherwise.' }),
  BACKUP_ARCHIVE_KEYS_FILE: optional(
    text({ description: 'File of secrets for archives, one per line: 32 random bytes as 64 hex digits or base64 (`openssl rand -hex 32`). The first one encrypts what is written, all of them read. It should not lie beside the archives.' }),
    'archives are not encrypted',
  ),
  BACKUP_ARCHIVE_KEYS: optional(text({ secret: true, description: 'The secrets themselves, separated by commas, instead of BACKUP_ARCHIVE_KEYS_FILE.' }), 'not set'),
  BACKUP_BYTES_PER_SECOND: bytes({ min: 64 * KIB, max: 64 * GIB, default: '32MiB', description: 'Bound on what a backup reads from all nodes together, keys and values per second, unless the job says another one. Higher ends sooner and takes more from clients.' }),
  BACKUP_COMPRESSION_LEVEL: integer({ min: 0, max: 19, default: '1', description: 'Of zstd; 0: archives are not compressed. Higher takes less room and more processor time.' }),
  BACKUP_PARTITIONS_AT_ONCE: integer({ min: 1, max: 64, default: '4', description: 'Partitions that a job reads or writes side by side. Each takes about 16 MiB of memory.' }),
  BACKUP_NICE: integer({ min: 0, max: 19, default: '10', description: 'How far this process steps back behind others on its machine, as of nice(1): clients of storage nodes beside it would wait for its packing and hashing. 0: not at all.' }),
  BACKUP_CACHE_BYTES: bytes({ min: 8 * MIB, max: 64 * GIB, default: '256MiB', description: 'Chunks of archives that are kept in memory while they are restored: partitions that are filled side by side read the same ones.' }),
  BACKUP_LOG_ARCHIVING: choice(['on', 'off'], { default: 'off', description: 'on: the logs of all partitions go to the repository all the time, so that a restore can lead to any moment between two backups (R40).' }),
  BACKUP_LOG_INTERVAL_MS: durationMs({ min: 500, max: 600_000, default: '2500ms', description: 'How often logs go to the repository: what was written for longer than this and the time that it takes is safe there.' }),
  BACKUP_LOG_BARRIER_MS: durationMs({ min: 1000, max: 3_600_000, default: '30s', description: 'How often all partitions are held at one moment while logs are archived: a restore to a moment rounds to one of these unless it is meant exactly. Writes wait for some milliseconds each time.' }),
  BACKUP_LOG_KEEP_MS: durationMs({ min: 60_000, max: 366 * 24 * 3_600_000, default: '168h', description: 'Archived logs that ended longer ago are removed, and so are those before the oldest backup.' }),
  BACKUP_BARRIER_HOLD_MS: durationMs({ min: 20, max: 10_000, default: '250ms', description: 'For at most so long writes wait while all partitions are brought to one moment (R39); a cut that takes longer is void and tried again.' }),
};

/** For messages about a bucket. */
const S3_SETTING_NAMES = { bucket: 'BACKUP_REPOSITORY', endpoint: 'BACKUP_S3_ENDPOINT', region: 'BACKUP_S3_REGION' } as const;

export interface Config {
  readonly common: CommonConfig;
  readonly repository: RepositoryLocation;
  readonly s3: { readonly endpoint: string | undefined; readonly region: string; readonly settingNames: typeof S3_SETTING_NAMES };
  readonly probeMs: number;
  readonly etcdCheckMs: number;
  readonly lockTtlMs: number;
  readonly keys: { readonly file: string | undefined; readonly text: string | undefined };
  /** As of nice(1), 0 to 19. */
  readonly nice: number;
  readonly cacheBytes: number;
  readonly jobs: JobDefaults;
  readonly logs: LogArchiving;
}

/** The archiving of logs, all the time. */
export interface LogArchiving {
  readonly isOn: boolean;
  readonly intervalMs: number;
  readonly barrierMs: number;
  readonly keepMs: number;
}

/** Of jobs that do not say otherwise. */
export interface JobDefaults {
  /** Keys and values, over all nodes. */
  readonly bytesPerSecond: number;
  readonly compressionLevel: number;
  readonly partitionsAtOnce: number;
  readonly barrierHoldMs: number;
}

/** Throws one ConfigError with every problem. */
export function parseConfig(env: Env): Config {
  const relations = COMMON_RELATIONS as readonly Relation<typeof SETTINGS>[];
  const values = parseSettings(SETTINGS, env, { prefixes: [COMMON_PREFIX, BACKUP_PREFIX], relations });
  return Object.freeze({
    common: toCommonConfig(values, shownSettings(SETTINGS, env)),
    repository: values.BACKUP_REPOSITORY,
    s3: { endpoint: values.BACKUP_S3_ENDPOINT, region: values.BACKUP_S3_REGION, settingNames: S3_SETTING_NAMES },
    probeMs: values.BACKUP_PROBE_MS,
    etcdCheckMs: values.BACKUP_ETCD_CHECK_MS,
    lockTtlMs: values.BACKUP_LOCK_TTL_MS,
    keys: { file: values.BACKUP_ARCHIVE_KEYS_FILE, text: values.BACKUP_ARCHIVE_KEYS },
    nice: values.BACKUP_NICE,
    cacheBytes: values.BACKUP_CACHE_BYTES,
    logs: { isOn: values.BACKUP_LOG_ARCHIVING === 'on', intervalMs: values.BACKUP_LOG_INTERVAL_MS, barrierMs: values.BACKUP_LOG_BARRIER_MS, keepMs: values.BACKUP_LOG_KEEP_MS },
    jobs: {
      bytesPerSecond: values.BACKUP_BYTES_PER_SECOND,
      compressionLevel: values.BACKUP_COMPRESSION_LEVEL,
      partitionsAtOnce: values.BACKUP_PARTITIONS_AT_ONCE,
      barrierHoldMs: values.BACKUP_BARRIER_HOLD_MS,
    },
  });
}

import {
  COMMON_PREFIX,
  COMMON_RELATIONS,
  commonSettings,
  defineSetting,
  durationMs,
  endpoint,
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
};

export interface Config {
  readonly common: CommonConfig;
  readonly repository: RepositoryLocation;
  readonly s3: { readonly endpoint: string | undefined; readonly region: string };
  readonly probeMs: number;
  readonly etcdCheckMs: number;
}

/** Throws one ConfigError with every problem. */
export function parseConfig(env: Env): Config {
  const relations = COMMON_RELATIONS as readonly Relation<typeof SETTINGS>[];
  const values = parseSettings(SETTINGS, env, { prefixes: [COMMON_PREFIX, BACKUP_PREFIX], relations });
  return Object.freeze({
    common: toCommonConfig(values, shownSettings(SETTINGS, env)),
    repository: values.BACKUP_REPOSITORY,
    s3: { endpoint: values.BACKUP_S3_ENDPOINT, region: values.BACKUP_S3_REGION },
    probeMs: values.BACKUP_PROBE_MS,
    etcdCheckMs: values.BACKUP_ETCD_CHECK_MS,
  });
}

import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  COMMON_PREFIX,
  COMMON_RELATIONS,
  commonSettings,
  defineSetting,
  durationMs,
  parseSettings,
  shownSettings,
  toCommonConfig,
  type CommonConfig,
  type Env,
  type Relation,
} from '@atoll/platform-config';

export const BACKUP_PREFIX = 'BACKUP_';

export const SETTINGS = {
  ...commonSettings({ id: 'backup-1', listen: '127.0.0.1:7430' }),
  BACKUP_REPOSITORY: defineSetting('path of a directory, or file:///path', parseRepository, {
    default: 'atoll-backup',
    description: 'Directory of the archives, made when it is missing. It should lie on other storage than the cluster: a relative path is below the working directory.',
  }),
  BACKUP_PROBE_MS: durationMs({ min: 100, max: 600_000, default: '10s', description: 'Time after which a repository that does not answer counts as not writable.' }),
  BACKUP_ETCD_CHECK_MS: durationMs({ min: 50, max: 60_000, default: '1s', description: 'Time between checks that etcd answers, for readiness.' }),
};

export interface Config {
  readonly common: CommonConfig;
  /** Absolute path of a directory. */
  readonly repository: string;
  readonly probeMs: number;
  readonly etcdCheckMs: number;
}

/** Throws one ConfigError with every problem. */
export function parseConfig(env: Env): Config {
  const relations = COMMON_RELATIONS as readonly Relation<typeof SETTINGS>[];
  const values = parseSettings(SETTINGS, env, { prefixes: [COMMON_PREFIX, BACKUP_PREFIX], relations });
  return Object.freeze({
    common: toCommonConfig(values, shownSettings(SETTINGS, env)),
    repository: resolve(values.BACKUP_REPOSITORY),
    probeMs: values.BACKUP_PROBE_MS,
    etcdCheckMs: values.BACKUP_ETCD_CHECK_MS,
  });
}

function parseRepository(text: string): string | undefined {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return text;
  try {
    const path = fileURLToPath(text);
    return isAbsolute(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

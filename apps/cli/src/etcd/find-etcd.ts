// Finds an etcd to run, in the order of the design: ATOLL_ETCD_BIN, PATH, a cached download of a pinned
// release, the system's package manager. Each step that is tried and does not help leaves a line, and the
// final message lists them all.
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { usageError } from '../cli-error.ts';
import { downloadEtcd } from './download-etcd.ts';
import { ETCD_RELEASE, ETCD_VERSION_MIN, isSupportedEtcd, parseEtcdVersion, type EtcdRelease } from './etcd-release.ts';
import { runProgram } from './run-program.ts';

export interface EtcdBinary {
  /** Absolute path. */
  readonly path: string;
  readonly version: string;
  readonly source: 'ATOLL_ETCD_BIN' | 'PATH' | 'download' | 'package';
}

/** What the search depends on. */
export interface EtcdSearch {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Tells people what is being done, one line each. */
  readonly report: (line: string) => void;
  /** As `process.platform` and `process.arch`. */
  readonly platform?: string;
  readonly arch?: string;
  /** True when packages may be installed. */
  readonly isRoot?: boolean;
  readonly release?: EtcdRelease;
  /** Exists on Debian and what descends from it. */
  readonly debianVersionFile?: string;
}

const VERSION_TIMEOUT_MS = 20_000;
const INSTALL_TIMEOUT_MS = 300_000;

/** Throws CliError (usage) with everything that was tried when there is none. */
export async function findEtcd(search: EtcdSearch): Promise<EtcdBinary> {
  const platform = search.platform ?? process.platform;
  const arch = search.arch ?? process.arch;
  const release = search.release ?? ETCD_RELEASE;
  const tried: string[] = [];

  const chosen = search.env['ATOLL_ETCD_BIN']?.trim();
  if (chosen) {
    const path = resolve(chosen);
    const verdict = await probe(path, search.env);
    if ('version' in verdict) return { path, version: verdict.version, source: 'ATOLL_ETCD_BIN' };
    throw usageError(`ATOLL_ETCD_BIN: ${path} ${verdict.problem}`);
  }

  const onPath = await searchPath(search.env, tried);
  if (onPath !== undefined) return onPath;

  const downloaded = await downloadEtcd({ release, platform, arch, env: search.env, report: search.report });
  if ('path' in downloaded) {
    const verdict = await probe(downloaded.path, search.env);
    if ('version' in verdict) return { path: downloaded.path, version: verdict.version, source: 'download' };
    tried.push(`download: ${downloaded.path} ${verdict.problem}`);
  } else {
    tried.push(`download: ${downloaded.problem}`);
  }

  const packageProblem = await installPackage(search, platform);
  if (packageProblem === undefined) {
    const installed = await searchPath(search.env, tried);
    if (installed !== undefined) return { ...installed, source: 'package' };
    tried.push('package manager: etcd-server was installed, but no etcd is on PATH');
  } else {
    tried.push(`package manager: ${packageProblem}`);
  }

  throw usageError(
    [
      `etcd ${ETCD_VERSION_MIN.join('.')} or newer is needed and was not found:`,
      ...tried.map((line) => `  - ${line}`),
      'Install it (Debian, Ubuntu: apt-get install etcd-server; macOS: brew install etcd;',
      'any system: https://github.com/etcd-io/etcd/releases) or set ATOLL_ETCD_BIN to its path.',
    ].join('\n'),
  );
}

async function searchPath(env: EtcdSearch['env'], tried: string[]): Promise<EtcdBinary | undefined> {
  const path = findOnPath('etcd', env);
  if (path === undefined) {
    tried.push('PATH: no etcd');
    return undefined;
  }
  const verdict = await probe(path, env);
  if ('version' in verdict) return { path, version: verdict.version, source: 'PATH' };
  tried.push(`PATH: ${path} ${verdict.problem}`);
  return undefined;
}

/** First executable file of that name on PATH. */
function findOnPath(name: string, env: EtcdSearch['env']): string | undefined {
  for (const dir of (env['PATH'] ?? '').split(delimiter)) {
    const path = join(dir, name);
    if (dir !== '' && isExecutableFile(path)) return path;
  }
  return undefined;
}

function isExecutableFile(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Environment in which etcd 3.4 agrees to run on processors other than amd64. */
export function etcdEnv(env: EtcdSearch['env'], arch: string = process.arch): Record<string, string | undefined> {
  return { ...env, ETCD_UNSUPPORTED_ARCH: arch };
}

async function probe(path: string, env: EtcdSearch['env']): Promise<{ version: string } | { problem: string }> {
  if (!existsSync(path)) return { problem: 'does not exist' };
  if (!isExecutableFile(path)) return { problem: 'is not an executable file' };
  const { code, output } = await runProgram(path, ['--version'], { env: etcdEnv(env), timeoutMs: VERSION_TIMEOUT_MS });
  const version = parseEtcdVersion(output);
  if (version === undefined) return { problem: `is not etcd (\`--version\` ended with ${code ?? 'a signal'})` };
  if (!isSupportedEtcd(version)) return { problem: `is etcd ${version}; ${ETCD_VERSION_MIN.join('.')} or newer is needed` };
  return { version };
}

/** undefined when the package is installed; else why not. */
async function installPackage(search: EtcdSearch, platform: string): Promise<string | undefined> {
  if (platform !== 'linux') return `none that is known on ${platform}`;
  if (!existsSync(search.debianVersionFile ?? '/etc/debian_version')) return 'not Debian or Ubuntu';
  if (!(search.isRoot ?? process.getuid?.() === 0)) return 'only root can install packages';
  const aptGet = findOnPath('apt-get', search.env);
  if (aptGet === undefined) return 'no apt-get on PATH';
  const env = { ...search.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args: string[]) => runProgram(aptGet, args, { env, timeoutMs: INSTALL_TIMEOUT_MS });
  const install = () => apt('install', '-y', '--no-install-recommends', 'etcd-server');
  search.report('etcd: installing the package etcd-server (apt-get install etcd-server)');
  let result = await install();
  if (result.code !== 0) {
    search.report('etcd: refreshing the package lists (apt-get update)');
    await apt('update');
    result = await install();
  }
  return result.code === 0 ? undefined : `apt-get install etcd-server failed: ${lastLine(result.output)}`;
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';

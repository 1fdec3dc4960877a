import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { etcdTarget, type EtcdRelease } from './etcd-release.ts';
import { runProgram } from './run-program.ts';

export interface EtcdDownload {
  readonly release: EtcdRelease;
  readonly platform: string;
  readonly arch: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly report: (line: string) => void;
}

const DOWNLOAD_TIMEOUT_MS = 180_000;
const EXTRACT_TIMEOUT_MS = 60_000;

/** `$XDG_CACHE_HOME/atoll`, else `~/.cache/atoll`. */
export function cacheDir(env: EtcdDownload['env']): string {
  return join(env['XDG_CACHE_HOME']?.trim() || join(env['HOME']?.trim() || homedir(), '.cache'), 'atoll');
}

/**
 * The pinned etcd out of the cache, or fetched into it. The archive's SHA-256 is checked before anything is
 * unpacked; the unpacked program's own sum lies beside it and is checked at every use, so a damaged cache
 * is fetched again. Never throws: a machine without network is an ordinary case.
 */
export async function downloadEtcd(download: EtcdDownload): Promise<{ path: string } | { problem: string }> {
  const { release, platform, arch, env, report } = download;
  const target = etcdTarget(release, platform, arch);
  const expected = target === undefined ? undefined : release.sha256[target];
  if (target === undefined || expected === undefined) return { problem: `no pinned release for ${platform}-${arch}` };
  const name = `etcd-v${release.version}-${target}`;
  const home = join(cacheDir(env), name);
  const path = join(home, 'etcd');
  if (isIntact(home)) return { path };

  const url = `${release.baseUrl}/v${release.version}/${name}.tar.gz`;
  let scratch: string | undefined;
  try {
    mkdirSync(cacheDir(env), { recursive: true });
    scratch = mkdtempSync(join(cacheDir(env), 'download-'));
    report(`etcd: downloading ${url}`);
    const response = await fetch(url, { signal: AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS) });
    if (!response.ok) return { problem: `${url} answered ${response.status}` };
    const archive = Buffer.from(await response.arrayBuffer());
    const actual = sha256(archive);
    if (actual !== expected) return { problem: `${url} has SHA-256 ${actual}, expected ${expected}; it was thrown away` };
    const file = join(scratch, 'etcd.tar.gz');
    writeFileSync(file, archive);
    const tar = await runProgram('tar', ['-xzf', file, '-C', scratch, '--strip-components=1', `${name}/etcd`], {
      env,
      timeoutMs: EXTRACT_TIMEOUT_MS,
    });
    if (tar.code !== 0) return { problem: `tar could not unpack it: ${tar.output.trim()}` };
    rmSync(file);
    writeFileSync(join(scratch, 'etcd.sha256'), sha256(readFileSync(join(scratch, 'etcd'))));
    rmSync(home, { recursive: true, force: true });
    renameSync(scratch, home);
    report(`etcd: ${release.version} is in ${home}`);
    return { path };
  } catch (error) {
    // Another process may have finished the same download a moment earlier.
    return isIntact(home) ? { path } : { problem: `${url}: ${reasonOf(error)}` };
  } finally {
    if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
  }
}

function isIntact(home: string): boolean {
  const sum = join(home, 'etcd.sha256');
  if (!existsSync(sum) || !existsSync(join(home, 'etcd'))) return false;
  return readFileSync(sum, 'utf8').trim() === sha256(readFileSync(join(home, 'etcd')));
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** fetch hides the cause of a failure behind "fetch failed". */
function reasonOf(error: unknown): string {
  const { cause, message = String(error) } = error as { cause?: { message?: string }; message?: string };
  return cause?.message || message;
}

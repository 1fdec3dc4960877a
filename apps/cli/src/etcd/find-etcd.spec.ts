import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { EtcdRelease } from './etcd-release.ts';
import { findEtcd, type EtcdSearch } from './find-etcd.ts';

const prints = (version: string): string => `#!/bin/sh\necho "etcd Version: ${version}"\n`;

/** Where this machine has a tool: the machines of the tests have just a few of them. */
function toolPath(name: string): string {
  const found = (process.env['PATH'] ?? '').split(delimiter).map((path) => join(path, name)).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`these tests need ${name}`);
  return found;
}

describe('findEtcd', () => {
  let dir = '';
  let lines: string[] = [];
  let server: Server | undefined;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'atoll-find-etcd-'));
    lines = [];
    mkdirSync(join(dir, 'tools'));
    for (const tool of ['tar', 'gzip', 'cp']) symlinkSync(toolPath(tool), join(dir, 'tools', tool));
  });
  afterEach(() => {
    server?.close();
    server = undefined;
    rmSync(dir, { recursive: true, force: true });
  });

  function program(path: string, text: string): string {
    const file = join(dir, path);
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, text);
    chmodSync(file, 0o755);
    return file;
  }

  /** A machine with nothing but the programs of `paths`, no network, no root. */
  function machine(paths: readonly string[], more: Partial<EtcdSearch> = {}): EtcdSearch {
    return {
      env: { PATH: [...paths, 'tools'].map((path) => join(dir, path)).join(delimiter), HOME: dir, XDG_CACHE_HOME: join(dir, 'cache') },
      report: (line) => lines.push(line),
      platform: 'linux',
      arch: 'x64',
      isRoot: false,
      release: { version: '3.5.21', baseUrl: 'http://127.0.0.1:1', sha256: { 'linux-amd64': 'none' } },
      debianVersionFile: join(dir, 'debian_version'),
      ...more,
    };
  }

  /** A site with one release; counts how often it is fetched. */
  async function site(options: { damaged?: boolean } = {}): Promise<{ release: EtcdRelease; fetched: () => number }> {
    program('archive/etcd-v3.5.21-linux-amd64/etcd', prints('3.5.21'));
    execFileSync('tar', ['-czf', join(dir, 'etcd.tar.gz'), '-C', join(dir, 'archive'), 'etcd-v3.5.21-linux-amd64']);
    const archive = readFileSync(join(dir, 'etcd.tar.gz'));
    const sum = createHash('sha256').update(archive).digest('hex');
    let count = 0;
    server = createServer((request, response) => {
      count += 1;
      response.statusCode = request.url === '/v3.5.21/etcd-v3.5.21-linux-amd64.tar.gz' ? 200 : 404;
      response.end(options.damaged ? Buffer.concat([archive, Buffer.from('x')]) : archive);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    return { release: { version: '3.5.21', baseUrl: `http://127.0.0.1:${port}`, sha256: { 'linux-amd64': sum } }, fetched: () => count };
  }

  it('takes ATOLL_ETCD_BIN before PATH', async () => {
    const chosen = program('own/etcd', prints('3.5.9'));
    program('path/etcd', prints('3.4.23'));
    const search = machine(['path']);
    expect(await findEtcd({ ...search, env: { ...search.env, ATOLL_ETCD_BIN: chosen } })).toEqual({ path: chosen, version: '3.5.9', source: 'ATOLL_ETCD_BIN' });
  });

  it.each([
    ['does not exist', 'missing/etcd', undefined],
    ['is not etcd', 'own/etcd', '#!/bin/sh\necho hello\n'],
    ['is etcd 3.3.27; 3.4 or newer is needed', 'own/etcd', prints('3.3.27')],
  ])('refuses an ATOLL_ETCD_BIN that %s, and looks no further', async (problem, path, text) => {
    if (text !== undefined) program(path, text);
    program('path/etcd', prints('3.4.23'));
    const search = machine(['path']);
    const found = findEtcd({ ...search, env: { ...search.env, ATOLL_ETCD_BIN: join(dir, path) } });
    await expect(found).rejects.toMatchObject({ exitCode: 2, message: expect.stringContaining(problem) });
    await expect(found).rejects.toThrow(/^ATOLL_ETCD_BIN: /);
  });

  it('takes the first etcd on PATH', async () => {
    const first = program('one/etcd', prints('3.4.23'));
    program('two/etcd', prints('3.5.0'));
    expect(await findEtcd(machine(['none', 'one', 'two']))).toEqual({ path: first, version: '3.4.23', source: 'PATH' });
    expect(lines).toEqual([]);
  });

  it('downloads the pinned release once, and says so', async () => {
    const { release, fetched } = await site();
    const expected = { path: join(dir, 'cache/atoll/etcd-v3.5.21-linux-amd64/etcd'), version: '3.5.21', source: 'download' };
    expect(await findEtcd(machine([], { release }))).toEqual(expected);
    expect(lines[0]).toContain('etcd: downloading http://127.0.0.1:');
    expect(await findEtcd(machine([], { release }))).toEqual(expected);
    expect(fetched()).toBe(1);
  });

  it('passes over an etcd on PATH that is too old', async () => {
    program('path/etcd', prints('3.3.27'));
    const { release } = await site();
    expect(await findEtcd(machine(['path'], { release }))).toMatchObject({ version: '3.5.21', source: 'download' });
  });

  it('fetches again when the cached program is damaged', async () => {
    const { release, fetched } = await site();
    const { path } = await findEtcd(machine([], { release }));
    writeFileSync(path, 'half of i');
    expect(await findEtcd(machine([], { release }))).toMatchObject({ version: '3.5.21', source: 'download' });
    expect(fetched()).toBe(2);
  });

  it('throws a download with another checksum away', async () => {
    const { release } = await site({ damaged: true });
    await expect(findEtcd(machine([], { release }))).rejects.toThrow(/has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}; it was thrown away/);
    expect(existsSync(join(dir, 'cache/atoll/etcd-v3.5.21-linux-amd64'))).toBe(false);
  });

  it('installs the package on Debian as root when nothing can be downloaded', async () => {
    writeFileSync(join(dir, 'debian_version'), '12.0');
    // The first try fails until the lists are refreshed, as on a fresh image.
    program('package/etcd', prints('3.4.23'));
    program(
      'bin/apt-get',
      `#!/bin/sh
      case "$1" in
        update) : > ${dir}/updated ;;
        install) [ -e ${dir}/updated ] || exit 100; cp ${dir}/package/etcd ${dir}/bin/etcd ;;
      esac`,
    );
    const found = await findEtcd(machine(['bin'], { isRoot: true }));
    expect(found).toEqual({ path: join(dir, 'bin/etcd'), version: '3.4.23', source: 'package' });
    expect(lines).toEqual([
      'etcd: downloading http://127.0.0.1:1/v3.5.21/etcd-v3.5.21-linux-amd64.tar.gz',
      'etcd: installing the package etcd-server (apt-get install etcd-server)',
      'etcd: refreshing the package lists (apt-get update)',
    ]);
  });

  it('lists what was tried and what to install when there is no way', async () => {
    const found = findEtcd(machine([]));
    await expect(found).rejects.toMatchObject({ exitCode: 2 });
    await expect(found).rejects.toThrow(
      /etcd 3\.4 or newer is needed and was not found:\n {2}- PATH: no etcd\n {2}- download: .*\n {2}- package manager: not Debian or Ubuntu\nInstall it \(Debian, Ubuntu: apt-get install etcd-server/,
    );
    await expect(findEtcd(machine([], { platform: 'darwin', arch: 'arm64' }))).rejects.toThrow('download: no pinned release for darwin-arm64');
  });
});

import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** None that a release has. */
const VERSION = '9.8.7-spec';

const workspace = fileURLToPath(new URL('..', import.meta.url));

describe('a bundle', () => {
  let directory: string;
  let child: ChildProcessWithoutNullStreams | undefined;

  beforeAll(() => {
    // Inside the workspace, where node_modules is found.
    mkdirSync(join(workspace, 'dist'), { recursive: true });
    directory = mkdtempSync(join(workspace, 'dist', 'bundle-spec-'));
    const { status, stderr } = spawnSync(process.execPath, ['tools/bundle.ts', 'apps/storage-node', directory, VERSION], { cwd: workspace, encoding: 'utf8' });
    if (status !== 0 || stderr !== '') throw new Error(`the bundle could not be made: ${stderr}`);
  });
  afterAll(() => {
    child?.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });

  it('holds the code of the workspace, and loads the SDK for traces only when it is asked to', () => {
    const code = readFileSync(join(directory, 'main.mjs'), 'utf8');
    expect(code).not.toMatch(/(from|import\() ?"@atoll\//);
    expect(code).toContain('import("@opentelemetry/sdk-node")');
    expect(code).not.toMatch(/from "@opentelemetry\/sdk-node"/);
    expect(existsSync(join(directory, 'descriptor.binpb'))).toBe(true);
  });

  it('starts, serves its probes, says which version it is, waits for etcd and stops', async () => {
    // Port 1 of this host refuses connections, so etcd is away for good.
    const env = { PATH: process.env.PATH, ATOLL_ETCD: 'http://127.0.0.1:1', ATOLL_LISTEN: '127.0.0.1:0', ATOLL_HTTP_LISTEN: '127.0.0.1:0', ATOLL_LOG_FORMAT: 'json' };
    child = spawn(process.execPath, [join(directory, 'main.mjs')], { env });
    let complaints = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text));
    const ended = once(child, 'close') as Promise<[number | null]>;
    let http: string | undefined;
    const seen: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      seen.push(line);
      const record = JSON.parse(line) as { readonly msg: string; readonly http?: string };
      http ??= record.http;
      if (record.msg.startsWith('waiting for etcd')) break;
    }
    expect(`${seen.at(-1)}${complaints}`).toContain('waiting for etcd');
    expect((await fetch(`http://${http}/healthz`)).status).toBe(200);
    expect((await fetch(`http://${http}/readyz`)).status).toBe(503);
    expect(await (await fetch(`http://${http}/metrics`)).text()).toContain(`version="${VERSION}"`);
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  });
});

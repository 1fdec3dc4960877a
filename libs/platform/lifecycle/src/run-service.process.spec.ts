import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';

const SERVICE = fileURLToPath(new URL('./testdata/service.ts', import.meta.url));

/** Runs the service of testdata; `signals` are sent one by one, each when its text has appeared in the output. */
async function run(env: Record<string, string>, signals: { readonly at: string; readonly signal: NodeJS.Signals }[] = []) {
  const child = spawn(process.execPath, [SERVICE], { env: { PATH: process.env['PATH'], ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  const pending = [...signals];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
    while (pending[0] !== undefined && out.includes(pending[0].at)) child.kill(pending.shift()?.signal);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const startMs = performance.now();
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out, err, tookMs: performance.now() - startMs };
}

const TERM_WHEN_SERVING = [{ at: 'serving', signal: 'SIGTERM' as const }];

describe('runService', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('stops in order, the last started first, and exits 0 at %s', async (signal) => {
    const { code, out, err } = await run({}, [{ at: 'spec started', signal }]);
    expect(err).toBe('');
    expect(code).toBe(0);
    expect(out).toMatch(/serving[^]*stopped second\n[^]*stopped first\n/);
  });

  it('prints every configuration problem on standard error and exits 2', async () => {
    const { code, out, err } = await run({ ATOLL_LISTEN: 'nowhere', SPEC_MODE: 'dance', ATOLL_ETDC: 'http://127.0.0.1:1' });
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toMatch(/^spec: settings are wrong:\n/);
    for (const part of ['ATOLL_LISTEN must be host:port, got "nowhere"', 'SPEC_MODE must be serve', 'did you mean ATOLL_ETCD?']) expect(err).toContain(part);
    expect(err).not.toContain('    at ');
  });

  it('prints one clear message for a busy port, ends what was started, and exits 2', async () => {
    const busy = createServer().listen(0, '127.0.0.1');
    await once(busy, 'listening');
    const { port } = busy.address() as AddressInfo;
    const { code, out, err } = await run({ ATOLL_HTTP_LISTEN: `127.0.0.1:${port}` });
    busy.close();
    expect(code).toBe(2);
    expect(err).toBe(`spec: HTTP endpoint: address 127.0.0.1:${port} is in use by another process; set ATOLL_HTTP_LISTEN to another one\n`);
    expect(out).toContain('stopped first');
  });

  it('exits 0 when it is told to stop while it waits', async () => {
    const { code, out } = await run({ SPEC_MODE: 'wait' }, [{ at: 'waiting for a server at nowhere', signal: 'SIGTERM' }]);
    expect(code).toBe(0);
    expect(out).toContain('stopped first');
    expect(out.match(/waiting for/g)).toHaveLength(1);
  });

  it('cuts a slow hook off inside the bound and still exits 0', async () => {
    const { code, out } = await run({ SPEC_MODE: 'hang', ATOLL_SHUTDOWN_MS: '500' }, TERM_WHEN_SERVING);
    expect(code).toBe(0);
    expect(out).toContain('stopping takes long');
    expect(out).toContain('stopped first');
  });

  it('exits 1 when a hook does not end within the bound', async () => {
    const { code, out } = await run({ SPEC_MODE: 'deaf', ATOLL_SHUTDOWN_MS: '300' }, TERM_WHEN_SERVING);
    expect(code).toBe(1);
    expect(out).toContain('stopping did not end in time');
  });

  it('runs the other hooks behind one that fails, and exits 1', async () => {
    const { code, out } = await run({ SPEC_MODE: 'broken-hook' }, TERM_WHEN_SERVING);
    expect(code).toBe(1);
    expect(out).toContain('stopped first');
  });

  it('ends at once, with 1, at a second signal', async () => {
    const { code, out, tookMs } = await run({ SPEC_MODE: 'deaf', ATOLL_SHUTDOWN_MS: '60s' }, [
      { at: 'serving', signal: 'SIGTERM' },
      { at: 'stopped second', signal: 'SIGTERM' },
    ]);
    expect(code).toBe(1);
    expect(out).toContain('second signal');
    expect(tookMs).toBeLessThan(20_000);
  });

  it.each(['reject', 'throw', 'bug-at-start'])('logs a bug once and exits 70: %s', async (mode) => {
    const { code, out } = await run({ SPEC_MODE: mode });
    expect(code).toBe(70);
    expect(out.match(/"level":"fatal"/g)).toHaveLength(1);
  });

  it('stops in order with the given code when the service gives up', async () => {
    const { code, out } = await run({ SPEC_MODE: 'lose-id' });
    expect(code).toBe(2);
    expect(out).toMatch(/the node id was taken[^]*stopped second\n[^]*stopped first\n/);
  });
});

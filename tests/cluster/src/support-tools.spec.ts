// atoll doctor, atoll top and atoll debug bundle beside a real cluster, whole and broken.
import { appendFile, readFile, rm } from 'node:fs/promises';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { jest } from '@jest/globals';
import { eventually, itWith } from '@atoll/platform-etcd/testing';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { Load } from './load.ts';
import { ROOT, runCommand, type CommandResult } from './run-command.ts';

jest.setTimeout(120_000);

const SEED = 20_261_123;
/** Planted where secrets lie in real life: in the environment, in an address, in a log, in what users wrote. */
const SECRET = 'pl4nted-s3cret';

interface Finding {
  readonly level: string;
  readonly check: string;
  readonly message: string;
  readonly advice: string;
}

let cluster: DevCluster;
let load: Load;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, coordinators: 2, env: { DATABASE_PASSWORD: SECRET, OTEL_EXPORTER_OTLP_HEADERS: `authorization=Bearer ${SECRET}` } });
  const client = cluster.client();
  await client.set(`key-${SECRET}`, `value-${SECRET}`);
  load = new Load({ client, seed: SEED, pauseMs: 10 }).start();
  await load.progress();
}, START_MS);

afterAll(async () => {
  await load?.stop();
  await cluster?.stop();
}, STOP_MS);

const atoll = (...args: readonly string[]): Promise<CommandResult> => runCommand(process.execPath, [join(ROOT, 'apps/cli/src/main.ts'), ...args, '--data-dir', cluster.dataDir]);

async function doctor(): Promise<{ code: number | null; findings: Finding[] }> {
  const { code, stdout } = await atoll('doctor', '--json');
  return { code, findings: (JSON.parse(stdout) as { findings: Finding[] }).findings };
}

const problems = (findings: readonly Finding[]): Finding[] => findings.filter(({ level }) => level === 'problem');

it('doctor: a whole cluster has no problem', async () => {
  await cluster.untilRedundant();
  const { code, findings } = await doctor();
  expect({ code, problems: problems(findings) }).toEqual({ code: 0, problems: [] });
  const { stdout } = await atoll('doctor');
  for (const check of ['etcd', 'clocks', 'versions', 'redundancy', 'disk']) expect(stdout).toContain(`ok       ${check}\n`);
  // 2 coordinators, 3 nodes, a router, a backup service
  expect(stdout).toContain('7 services and 1 etcd servers asked: 0 problems');
});

it('top: shows what each service does, and what moves', async () => {
  await cluster.startMigration({ id: 'slow', from: 'node-1', to: 'node-2', bytesPerSecond: 1024 });
  await cluster.pauseMigration('slow');
  const { code, stdout } = await atoll('top', '--once', '--json');
  expect(code).toBe(0);
  const { services } = JSON.parse(stdout) as { services: { service: string; state: string; operationsPerSecond: number; p99Ms: number; leads: number; entryBytes: number; residentBytes: number; lagEntries: number }[] };
  const nodes = services.filter(({ service }) => service.startsWith('node-'));
  expect(nodes.map(({ service }) => service).toSorted()).toEqual(['node-1', 'node-2', 'node-3']);
  for (const node of nodes) {
    expect(node.operationsPerSecond).toBeGreaterThan(0);
    expect(node.p99Ms).toBeGreaterThan(0);
    expect(node.entryBytes).toBeGreaterThan(0);
    expect(node.residentBytes).toBeGreaterThan(20 * 1024 * 1024);
    expect(node.lagEntries).not.toBeNull();
  }
  expect(nodes.reduce((sum, { leads }) => sum + leads, 0)).toBe(64);
  expect(services.map(({ state }) => state)).toContain('elected');
  const text = (await atoll('top', '--once')).stdout;
  expect(text).toMatch(/^3 of 3 nodes up, 64 partitions: 0 without a leader/);
  expect(text).toMatch(/^slow PAUSED, \d+ of \d+ partitions/m);
  expect((await doctor()).findings).toContainEqual(expect.objectContaining({ level: 'warning', check: 'jobs', message: expect.stringContaining('slow is paused') }));
  await cluster.cancelMigration('slow');
});

const itWithTool = itWith(spawnSync('tar', ['--version']).status === 0, 'there is no tar');

describe('debug bundle', () => {
  const out = (): string => join(cluster.dataDir, 'bundle.tar.gz');

  it('has state, metrics, settings and logs, and nothing secret', async () => {
    await appendFile(join(cluster.dataDir, 'logs', 'node-1.log'), `{"msg":"somebody logs what he should not","url":"http://me:${SECRET}@host","password":"${SECRET}"}\n`);
    const { code, stdout, stderr } = await atoll('debug', 'bundle', '--out', out());
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: `${out()}\n`, stderr: '' });
    const text = gunzipSync(await readFile(out())).toString('latin1');
    expect(text).not.toContain(SECRET);
    for (const name of ['doctor.json', 'partitions.json', 'events.json', 'services/storage-node-node-1.metrics.txt', 'services/storage-node-node-1.settings.json', 'logs/node-1.log', 'logs/etcd.log']) expect(text).toContain(name);
    expect(text).toContain('atoll_memory_used_bytes');
    expect(text).toContain('"STORAGE_NODE_LEASE_MS"');
    expect(text).toContain('somebody logs what he should not');
  });

  it('does not overwrite what is there', async () => {
    expect(await atoll('debug', 'bundle', '--out', out())).toMatchObject({ code: 1, stderr: expect.stringContaining('--out: ') });
  });

  itWithTool('is read by tar', async () => {
    const { status, stdout } = spawnSync('tar', ['-tzf', out()], { encoding: 'utf8' });
    expect(status).toBe(0);
    expect(stdout).toMatch(/^atoll-debug-\d{8}T\d{6}Z\/README\.txt$/m);
    await rm(out());
  });
});

it('doctor: says what is wrong with a broken one, and what to do', async () => {
  await cluster.kill('node-3');
  await eventually('node-3 is judged', async () => (await cluster.events('NODE_DOWN')).length > 0, 30_000);
  const { code, findings } = await doctor();
  expect(code).toBe(1);
  expect(problems(findings).map(({ check }) => check)).toEqual(expect.arrayContaining(['reachable', 'nodes', 'redundancy']));
  expect(findings).toContainEqual({ level: 'problem', check: 'nodes', message: expect.stringContaining('node-3 is DOWN'), advice: expect.stringContaining('atoll nodes replace node-3') });
  const { code: bundled, stderr } = await atoll('debug', 'bundle', '--out', join(cluster.dataDir, 'broken.tar.gz'));
  expect({ bundled, stderr }).toEqual({ bundled: 0, stderr: expect.stringContaining('storage-node node-3 is missing from it: ECONNREFUSED') });
});

it('doctor: goes on without etcd', async () => {
  await cluster.terminate('etcd');
  await eventually('the services notice', async () => (await cluster.metrics('router-1')).sum('atoll_etcd_connected') === 0, 30_000);
  const { code, findings } = await doctor();
  expect(code).toBe(1);
  expect(problems(findings).filter(({ check }) => check === 'etcd').map(({ message }) => message)).toEqual([expect.stringContaining('ECONNREFUSED'), expect.stringMatching(/etcd tells .*nothing/)]);
});

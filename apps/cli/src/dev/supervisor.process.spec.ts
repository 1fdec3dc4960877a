import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import { findEtcd } from '../etcd/find-etcd.ts';
import type { ClusterHealth } from './cluster-status.ts';
import { planStorageNodes, type ClusterLayout } from './layout.ts';
import { endLeftovers } from './leftovers.ts';
import { findFreeBasePort, servicePort } from './ports.ts';
import { identityOf, isRunning } from './process-identity.ts';
import { readState } from './state-file.ts';
import { Supervisor, type SupervisorOptions } from './supervisor.ts';

const smallService = fileURLToPath(new URL('testing/small-service.mjs', import.meta.url));
const serving: ClusterHealth = { coordinator: 'coordinator-1', nodesUp: 60, nodesTotal: 60, partitions: 64, partitionsWithoutLeader: 0, partitionsUnderReplicated: 0 };

describe('Supervisor', () => {
  let dataDir = '';
  let etcdPath = '';
  let basePort = 0;
  let lines: string[] = [];
  let supervisor: Supervisor | undefined;

  beforeAll(async () => {
    etcdPath = (await findEtcd({ env: process.env, report: () => undefined })).path;
  });

  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'atoll-supervisor-'));
    basePort = await findFreeBasePort(process.pid);
    lines = [];
  });

  afterEach(async () => {
    await supervisor?.down();
    supervisor = undefined;
    rmSync(dataDir, { recursive: true, force: true });
  });

  function create(layout: Partial<ClusterLayout> = {}, more: Partial<SupervisorOptions> = {}): Supervisor {
    supervisor = new Supervisor({
      dataDir,
      layout: {
        basePort,
        routers: 1,
        coordinators: 1,
        backups: 1,
        storageNodes: planStorageNodes(2, ['a', 'b']),
        memoryBytes: undefined,
        durability: undefined,
        replicationFactor: undefined,
        restart: 'no',
        logLevel: undefined,
        ...layout,
      },
      etcdPath,
      env: process.env,
      serviceCommand: () => [process.execPath, smallService],
      report: (line) => lines.push(line),
      probe: () => Promise.resolve(serving),
      readyTimeoutMs: 30_000,
      ...more,
    });
    return supervisor;
  }

  async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
    const deadline = Date.now() + 20_000;
    while (!(await condition())) {
      if (Date.now() > deadline) throw new Error('the condition did not come true');
      await delay(20);
    }
  }

  it('starts etcd and the services, tells where they are, and leaves nothing behind', async () => {
    const cluster = create();
    await cluster.up();
    const status = await cluster.status();
    expect(status.etcd).toBe(`http://127.0.0.1:${basePort + 40}`);
    expect(status.routers).toMatchObject([{ id: 'router-1', address: `127.0.0.1:${basePort}`, state: 'running', ready: true }]);
    expect(status.coordinators).toMatchObject([{ id: 'coordinator-1', address: `127.0.0.1:${basePort + 20}` }]);
    expect(status.storageNodes).toMatchObject([
      { id: 'node-1', address: `127.0.0.1:${basePort + 10}`, zone: 'a' },
      { id: 'node-2', address: `127.0.0.1:${basePort + 11}`, zone: 'b' },
    ]);
    expect(status.backups).toMatchObject([{ id: 'backup-1' }]);
    const recorded = readState(dataDir)?.processes ?? [];
    expect(recorded.map(({ id }) => id).sort()).toEqual(['backup-1', 'coordinator-1', 'etcd', 'node-1', 'node-2', 'router-1']);
    expect(recorded.every(isRunning)).toBe(true);

    await cluster.down();
    expect(recorded.some(isRunning)).toBe(false);
    expect(readState(dataDir)?.processes).toEqual([]);
  }, 60_000);

  it('pauses, resumes, stops, kills and starts a process with the same id and ports', async () => {
    const cluster = create();
    await cluster.up();
    const before = (await cluster.status()).storageNodes[0];
    expect(await cluster.pause('node-1')).toMatchObject({ state: 'paused', ready: false, pid: before?.pid });
    expect(await cluster.kill('node-1', 'SIGCONT')).toMatchObject({ state: 'running', ready: true });
    expect(await cluster.kill('node-1', 'SIGSTOP')).toMatchObject({ state: 'paused', ready: false });
    expect(await cluster.resume('node-1')).toMatchObject({ state: 'running', ready: true, pid: before?.pid });
    await cluster.pause('node-1');
    expect(await cluster.stop('node-1')).toMatchObject({ state: 'stopped', exit: 'exit code 0', pid: null });
    await expect(cluster.pause('node-1')).rejects.toThrow('node-1 is not running (stopped, exit code 0)');
    const again = await cluster.start('node-1');
    expect(again).toMatchObject({ id: 'node-1', address: before?.address, ready: true, restarts: 1 });
    expect(again.pid).not.toBe(before?.pid);
    await expect(cluster.start('node-1')).rejects.toThrow('node-1 is running already');
    expect(await cluster.kill('node-1', 'SIGKILL')).toMatchObject({ state: 'killed', exit: 'SIGKILL', pid: null });
    expect(lines.filter((line) => line.includes('unexpectedly'))).toEqual([]);
    await expect(cluster.kill('node-9', 'SIGKILL')).rejects.toThrow('there is no node-9; there are etcd, coordinator-1, node-1');
  }, 60_000);

  it('adds a storage node in the zone with the fewest and remembers it', async () => {
    const cluster = create({ storageNodes: planStorageNodes(3, ['a', 'b']) });
    await cluster.up();
    expect(await cluster.addNode({})).toMatchObject({ id: 'node-4', zone: 'b', ready: true, address: `127.0.0.1:${servicePort(basePort, 'storage-node', 4)}` });
    expect(readState(dataDir)?.layout.storageNodes.at(-1)).toEqual({ number: 4, zone: 'b', weight: 1 });
  }, 60_000);

  it('shows a process that ends by itself and leaves it, or starts it again when told to', async () => {
    const cluster = create();
    await cluster.up();
    const { pid } = (await cluster.status()).storageNodes[1] ?? {};
    process.kill(pid ?? 0, 'SIGKILL');
    await until(() => lines.some((line) => line.startsWith('node-2 ended unexpectedly (SIGKILL)') && line.includes('atoll dev start node-2')));
    expect((await cluster.status()).storageNodes[1]).toMatchObject({ state: 'exited', exit: 'SIGKILL', pid: null });
    await cluster.down();

    const restarting = create({ restart: 'on-failure' });
    await restarting.up();
    const first = (await restarting.status()).storageNodes[1]?.pid ?? 0;
    process.kill(first, 'SIGKILL');
    await until(async () => {
      const node = (await restarting.status()).storageNodes[1];
      return node?.ready === true && node.pid !== first;
    });
  }, 60_000);

  it('fails with the end of the log when a service refuses to start, and stops the rest', async () => {
    const cluster = create({}, { env: { ...process.env, SMALL_SERVICE_MODE: 'refuse', SMALL_SERVICE_ID: 'node-2' } });
    await expect(cluster.up()).rejects.toThrow(/node-2 ended \(exit code 2\) before it was ready[^]*settings are wrong: SMALL_SERVICE_MODE/);
    expect(readState(dataDir)?.processes).toEqual([]);
  }, 60_000);

  it('names a busy port before it starts anything', async () => {
    const holder = createServer().listen(basePort + 11, '127.0.0.1');
    await once(holder, 'listening');
    try {
      await expect(create().up()).rejects.toMatchObject({
        exitCode: 2,
        message: `port ${basePort + 11} for node-2 (gRPC) is in use by another process; choose another --base-port`,
      });
      expect(readState(dataDir)).toBeUndefined();
    } finally {
      holder.close();
    }
  });

  it('kills what does not stop in time', async () => {
    const cluster = create({}, { env: { ...process.env, SMALL_SERVICE_MODE: 'deaf', SMALL_SERVICE_ID: 'node-1' }, stopTimeoutMs: 500 });
    await cluster.up();
    const recorded = readState(dataDir)?.processes ?? [];
    await cluster.down();
    expect(lines).toContain('node-1 did not stop within 0.5 s and was killed');
    expect(recorded.some(isRunning)).toBe(false);
  }, 60_000);

  it('ends what a killed supervisor left, and nothing that merely has the same pid', async () => {
    const cluster = create();
    await cluster.up();
    const recorded = readState(dataDir)?.processes ?? [];
    const stranger = { id: 'node-3', ...identityOf(process.pid), startedAt: 'another time' } as (typeof recorded)[number];
    expect((await endLeftovers([...recorded, stranger], 5_000)).sort()).toEqual(recorded.map(({ id }) => id).sort());
    expect(recorded.some(isRunning)).toBe(false);
  }, 60_000);

  it('passes the settings of each service in the environment, without the variables of the command', () => {
    const cluster = create({ memoryBytes: 1024 }, { env: { ...process.env, ATOLL_ROUTER: 'x:1', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4317' } });
    const env = cluster.specOf('node-1')?.env ?? {};
    expect(env).toMatchObject({
      ATOLL_ID: 'node-1',
      ATOLL_LISTEN: `127.0.0.1:${basePort + 10}`,
      ATOLL_HTTP_LISTEN: `127.0.0.1:${basePort + 1010}`,
      ATOLL_ETCD: `http://127.0.0.1:${basePort + 40}`,
      STORAGE_NODE_ZONE: 'a',
      STORAGE_NODE_MEMORY_BYTES_MAX: '1024',
      STORAGE_NODE_DATA_DIR: join(dataDir, 'nodes', 'node-1'),
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4317',
    });
    expect(env).not.toHaveProperty('ATOLL_ROUTER');
  });
});

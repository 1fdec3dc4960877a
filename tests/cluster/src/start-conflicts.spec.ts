// What a process says, and how it ends, when it must not start: exit code 2 and a message for whoever started it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { SERVICES, ownAddresses, runServiceToItsEnd, type Service, type ServiceEnd } from './service-process.ts';

jest.setTimeout(60_000);

let cluster: DevCluster;
let other: DevCluster;
let scratch: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'atoll-scratch-'));
  [cluster, other] = [await DevCluster.start({ nodes: 1 }), await DevCluster.start({ nodes: 1 })];
}, START_MS);

afterAll(async () => {
  await Promise.all([cluster?.stop(), other?.stop()]);
  await rm(scratch, { recursive: true, force: true });
}, STOP_MS);

async function expectUnharmed(): Promise<void> {
  const { storageNodes } = await cluster.status();
  expect(storageNodes.map(({ pid, state, ready }) => ({ pid, state, ready }))).toEqual([{ pid: cluster.process('node-1').pid, state: 'running', ready: true }]);
  const nodes = await cluster.nodes();
  expect(nodes.map(({ id, address, state }) => ({ id, address, state }))).toEqual([{ id: 'node-1', address: cluster.process('node-1').address, state: 1 }]);
  const client = cluster.client();
  await client.set('unharmed', 'yes');
  expect((await client.get('unharmed'))?.value.toString()).toBe('yes');
}

describe('a storage node started twice with one id (R5)', () => {
  it('ends the second one with 2 and leaves the first one alone', async () => {
    const { code, output } = await runServiceToItsEnd('storage-node', { ...(await ownAddresses()), ATOLL_ID: 'node-1', ATOLL_ETCD: cluster.up.etcd });
    expect(output).toContain(`node node-1: another process answers under this id at ${cluster.process('node-1').address}`);
    expect(code).toBe(2);
    await expectUnharmed();
  });

  it('ends it with 2 as well when it is given the same data directory', async () => {
    const { code, output } = await runServiceToItsEnd('storage-node', {
      ...(await ownAddresses()),
      ATOLL_ID: 'node-1',
      ATOLL_ETCD: cluster.up.etcd,
      STORAGE_NODE_DATA_DIR: join(cluster.dataDir, 'nodes', 'node-1'),
    });
    expect(output).toContain(`process ${cluster.process('node-1').pid} uses the directory; stop it or choose another directory`);
    expect(code).toBe(2);
    await expectUnharmed();
  });
});

describe('a process of another cluster', () => {
  it('a node with the data directory of another cluster ends with 2', async () => {
    const dataDir = join(other.dataDir, 'nodes', 'node-1');
    await other.kill('node-1');
    const { code, output } = await runServiceToItsEnd('storage-node', {
      ...(await ownAddresses()),
      ATOLL_ID: 'node-1',
      ATOLL_ETCD: cluster.up.etcd,
      STORAGE_NODE_DATA_DIR: dataDir,
    });
    expect(output).toContain(dataDir);
    expect(output).toMatch(/cluster [0-9a-f]+/);
    expect(code).toBe(2);
    await expectUnharmed();
  });

  it('every service with the ATOLL_CLUSTER_ID of another cluster ends with 2', async () => {
    const ends = await ofEachService(async (service) => ({ ...(await ownAddresses()), ATOLL_ID: 'stranger-1', ATOLL_CLUSTER_ID: 'another-cluster', ...inCluster(service) }));
    for (const [service, { code, output }] of ends) {
      expect([service, output]).toEqual([service, expect.stringMatching(/etcd belongs to cluster [0-9a-f]+, and ATOLL_CLUSTER_ID asks for another-cluster/)]);
      expect([service, code]).toEqual([service, 2]);
    }
    await expectUnharmed();
  });
});

describe('a busy port', () => {
  it.each(['ATOLL_LISTEN', 'ATOLL_HTTP_LISTEN'] as const)('of %s ends every service with 2; the message names the address and the setting', async (setting) => {
    const { address, httpAddress } = cluster.process('node-1');
    const busy = setting === 'ATOLL_LISTEN' ? address : httpAddress;
    const ends = await ofEachService(async (service) => ({ ...(await ownAddresses()), ...inCluster(service), [setting]: busy }));
    for (const [service, { code, stderr }] of ends) {
      expect([service, stderr]).toEqual([service, expect.stringContaining(`${busy} is in use by another process; set ${setting}`)]);
      expect([service, code]).toEqual([service, 2]);
    }
    await expectUnharmed();
  });
});

describe('bad settings', () => {
  const OWN: Readonly<Record<Service, Readonly<Record<string, string>>>> = {
    router: { ROUTER_RETRY_RATIO: 'many', ROUTER_OPERATIONS_MAKS: '5' },
    'storage-node': { STORAGE_NODE_WEIGHT: '-1', STORAGE_NODE_MEMORY_BYTES_MAKS: '1GiB' },
    coordinator: { COORDINATOR_TICK_MS: 'soon', COORDINATOR_GRACE: '1s' },
    backup: { BACKUP_PROBE_MS: 'never', BACKUP_REPOSITORIE: '/tmp' },
  };

  const COMMON = { ATOLL_LISTEN: 'nowhere', ATOLL_ETCD: 'ftp://x', ATOLL_LOG_LEVEL: 'loud', ATOLL_ID: 'No Spaces' };

  it('are listed all together in one message, and every service ends with 2', async () => {
    const ends = await ofEachService((service) => Promise.resolve({ ...COMMON, ...OWN[service] }));
    for (const [service, { code, stderr, output }] of ends) {
      for (const name of Object.keys({ ...COMMON, ...OWN[service] })) expect([service, stderr]).toEqual([service, expect.stringContaining(name)]);
      expect(stderr.startsWith(`${service}: `)).toBe(true);
      expect(output).toBe(stderr);
      expect([service, code]).toEqual([service, 2]);
    }
  });
});

/** Runs all four side by side. */
function ofEachService(settingsOf: (service: Service) => Promise<Record<string, string>>): Promise<[Service, ServiceEnd][]> {
  return Promise.all(SERVICES.map(async (service): Promise<[Service, ServiceEnd]> => [service, await runServiceToItsEnd(service, await settingsOf(service))]));
}

/** The backup service makes its repository where it is told to: not in the working tree. */
function inCluster(service: Service): Record<string, string> {
  return { ATOLL_ETCD: cluster.up.etcd, ...(service === 'backup' && { BACKUP_REPOSITORY: join(scratch, 'backup') }) };
}

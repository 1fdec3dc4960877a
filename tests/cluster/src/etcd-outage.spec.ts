// etcd may be away: at the start everything waits for it and says so; later reads and writes go on without it (R12).
import { jest } from '@jest/globals';
import { isAtollError } from '@atoll/client';
import { eventually } from '@atoll/platform-etcd/testing';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { Load } from './load.ts';

jest.setTimeout(150_000);

const SEED = 4001;
const OUTAGE_MS = 30_000;
const SETTLED_MS = 60_000;

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 2 });
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

describe('etcd away for 30 s under load', () => {
  it('no read and no write fails, and afterwards the configuration can be changed', async () => {
    const load = new Load({ client: cluster.client(), seed: SEED }).start();
    await load.progress();
    await cluster.kill('etcd');
    const startMs = performance.now();
    while (performance.now() - startMs < OUTAGE_MS) await load.progress(100);
    const { reasons } = (await cluster.readiness('router-1'))!;
    expect(reasons.join()).toContain('etcd is away');
    await cluster.startProcess('etcd');
    await load.progress();

    await eventually('a keyspace can be created', () => wasCreated({ name: 'afterwards', partitionCount: 4 }), SETTLED_MS);
    const client = cluster.client({ keyspace: 'afterwards' });
    await client.set('a', 'b');
    expect((await client.get('a'))?.value.toString()).toBe('b');
    await eventually('every node is registered', async () => (await cluster.nodes()).every(({ state }) => state === 1), SETTLED_MS);
    await cluster.untilRedundant('afterwards');
    await cluster.untilRedundant();

    const { failures, wrong, writes, reads } = await load.stop();
    expect({ failures, wrong }).toEqual({ failures: {}, wrong: [] });
    expect(Math.min(writes, reads)).toBeGreaterThan(500);
    expect(await load.verify()).toEqual([]);
    expect((await cluster.compareReplicas()).problems).toEqual([]);
  });
});

describe('etcd down at the start', () => {
  it('every service waits and says so, and serves when etcd comes', async () => {
    const services = cluster.services.map(({ id }) => id);
    const waits = async (id: string): Promise<number> => (await cluster.logLines(id, 'waiting for etcd')).length;
    const waitsBefore = new Map(await Promise.all(services.map(async (id): Promise<[string, number]> => [id, await waits(id)])));
    await Promise.all([...services, 'etcd'].map((id) => cluster.kill(id)));
    const starting = services.map((id) => cluster.startProcess(id));
    for (const start of starting) start.catch(() => undefined);

    for (const id of services) {
      await eventually(`${id} says that it waits for etcd`, async () => {
        const readiness = await cluster.readiness(id);
        return readiness?.status === 503 && /etcd/.test(readiness.reasons.join());
      }, SETTLED_MS);
      await eventually(`${id} logs that it waits for etcd`, async () => (await waits(id)) > waitsBefore.get(id)!, SETTLED_MS);
    }
    await cluster.startProcess('etcd');
    const started = await Promise.all(starting);
    expect(started.map(({ id, ready }) => ({ id, ready }))).toEqual(services.map((id) => ({ id, ready: true })));

    const client = cluster.client({ deadlineMs: 30_000 });
    await client.set('back', 'again');
    expect((await client.get('back'))?.value.toString()).toBe('again');
  });
});

/** False while the coordinator stands for election again. */
async function wasCreated(keyspace: Parameters<DevCluster['createKeyspace']>[0]): Promise<boolean> {
  try {
    await cluster.createKeyspace(keyspace);
    return true;
  } catch (error) {
    if (isAtollError(error) && (error.reason === 'NOT_COORDINATOR' || error.reason === 'METADATA_UNAVAILABLE')) return false;
    throw error;
  }
}

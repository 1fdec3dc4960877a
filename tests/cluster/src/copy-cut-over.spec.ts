// A copy takes the place of its source while clients write to it, and while something goes wrong in the middle (R37).
import { jest } from '@jest/globals';
import { MigrationMethod, MigrationState, type Migration } from '@atoll/contracts/atoll/v1/migration';
import { eventually } from '@atoll/platform-etcd/testing';
import { ChaosClients } from './chaos-clients.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

jest.setTimeout(240_000);

const SEED = 20_261_122;
const END_MS = 60_000;
const { MIGRATION_STATE_SUCCEEDED: SUCCEEDED } = MigrationState;

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, routers: 2, coordinators: 2 });
}, START_MS);
afterAll(() => cluster?.stop(), STOP_MS);

/** A source with something in it, under load, and a copy of other partitions that follows it and was found equal. */
async function copied(name: string, seed: number): Promise<{ readonly chaos: ChaosClients; readonly id: string; readonly target: string }> {
  await cluster.createKeyspace({ name, partitionCount: 8, replicationFactor: 2, minInSync: 1 });
  await cluster.untilRedundant(name);
  const chaos = new ChaosClients({ clients: [cluster.client(), cluster.client()], seed, keyspace: name, pauseMs: 8 });
  const id = `copy-${name}`;
  const target = `${name}-wide`;
  await cluster.startMigration({ id, method: MigrationMethod.MIGRATION_METHOD_COPY, keyspace: name, target: { name: target, partitionCount: 16, replicationFactor: 2, minInSync: 1 } });
  await chaos.progress();
  await untilReady(id);
  return { chaos, id, target };
}

const untilReady = (id: string): Promise<unknown> =>
  eventually(
    'the copy follows, is near its source, and was found equal',
    async () => {
      const { copy } = (await cluster.migration(id)).migration;
      return copy?.following === true && copy.comparedEntries !== undefined && copy.differing === 0 && (copy.lagMs ?? Infinity) < 500;
    },
    END_MS,
  );

const sourceGone = (name: string): Promise<unknown> =>
  eventually('nothing is left of the source', async () => (await Promise.all(['node-1', 'node-2', 'node-3'].map((node) => cluster.replicas(node)))).flat().every(({ keyspace }) => keyspace !== name), END_MS);

describe(`a copy that takes the place of its source (seed ${SEED})`, () => {
  it('clients that go on under the old name meet no error, no write is lost or done twice, and the source is deleted', async () => {
    const { chaos, id, target } = await copied('orders', SEED);
    const job = await cluster.cutOverMigration(id);
    expect(job).toMatchObject({ state: SUCCEEDED, problem: '', partitionsDone: 16 });
    expect(job.copy!.pausesMs).toHaveLength(8);
    expect(job.pauseMsMax).toBeLessThanOrEqual(2000);
    expect(job.copy!.comparedEntries).toBeGreaterThan(0);
    await chaos.progress(400);
    expect({ history: await chaos.verify(), failures: chaos.failures }).toEqual({ history: [], failures: {} });
    await sourceGone('orders');
    // Once more is the same as once.
    expect(await cluster.cutOverMigration(id)).toMatchObject({ state: SUCCEEDED, pauseMsMax: job.pauseMsMax });
    const client = cluster.client();
    await client.set('by-the-old-name', 'v', { keyspace: 'orders' });
    expect((await client.get('by-the-old-name', { keyspace: target }))?.value.toString()).toBe('v');
    expect(await cluster.partitions('orders')).toEqual(await cluster.partitions(target));
  });
});

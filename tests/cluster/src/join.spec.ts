// A fourth node joins under load: it gets its share, and clients notice nothing.
import { jest } from '@jest/globals';
import { eventually } from '@atoll/platform-etcd/testing';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { Load } from './load.ts';

jest.setTimeout(150_000);

const SEED = 9001;
const SPREAD_MS = 90_000;
const FILL_KEYS = 5000;

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3 });
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

it('a node that joins gets its share of replicas; no read and no write fails, nothing is lost', async () => {
  const client = cluster.client();
  const filling = await client.setMany(Array.from({ length: FILL_KEYS }, (_, index) => ({ key: `fill-${index}`, value: `value of ${index}` })), { deadlineMs: 30_000 });
  expect(filling.filter(({ ok }) => !ok)).toEqual([]);
  const load = new Load({ client, seed: SEED }).start();
  await load.progress();
  const partitions = (await cluster.partitions()).length;
  const bound = Math.ceil(1.1 * ((2 * partitions) / 4));

  const added = await cluster.addNode();
  expect(added).toMatchObject({ id: 'node-4', ready: true });
  await eventually('the replicas are spread', async () => {
    const nodes = await cluster.nodes();
    return nodes.length === 4 && nodes.every(({ replicas, learners }) => replicas <= bound && learners === 0);
  }, SPREAD_MS);
  await cluster.untilRedundant();
  await load.progress();

  const { failures, wrong } = await load.stop();
  expect({ failures, wrong }).toEqual({ failures: {}, wrong: [] });
  expect(await load.verify()).toEqual([]);
  const kept = await client.getMany(Array.from({ length: FILL_KEYS }, (_, index) => `fill-${index}`), { deadlineMs: 30_000 });
  expect(kept.filter((outcome, index) => !outcome.ok || outcome.value?.value.toString() !== `value of ${index}`)).toEqual([]);
  expect(await cluster.compareReplicas()).toMatchObject({ partitions, replicas: 2 * partitions, replicasFewest: 2, problems: [] });
  const nodes = await cluster.nodes();
  expect(nodes.reduce((total, { replicas }) => total + replicas, 0)).toBe(2 * partitions);
});

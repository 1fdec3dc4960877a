// Every storage node killed at once: what was only in memory is lost and says so (R31), what was on disk is there.
import { jest } from '@jest/globals';
import { eventually } from '@atoll/platform-etcd/testing';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { Load } from './load.ts';

jest.setTimeout(120_000);

const SYNC = 3;
const PARTITIONS = 8;
const BACK_MS = 60_000;

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3 });
  await cluster.createKeyspace({ name: 'none', partitionCount: PARTITIONS });
  await cluster.createKeyspace({ name: 'sync', partitionCount: PARTITIONS, durability: SYNC });
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

it('a keyspace of durability NONE serves again, empty, with a loss event; SYNC keeps every acknowledged write', async () => {
  const client = cluster.client();
  const loads = ['none', 'sync'].map((keyspace, index) => new Load({ client, keyspace, seed: 7001 + index, deadlineMs: 5000 }).start());
  const [none, sync] = loads as [Load, Load];
  await Promise.all(loads.map((load) => load.progress(1000)));
  const generationsBefore = new Map((await cluster.partitions('sync')).map(({ id, generation }) => [id, generation]));

  const nodes = cluster.up.storageNodes.map(({ id }) => id);
  await Promise.all(nodes.map((node) => cluster.kill(node)));
  await Promise.all(loads.map((load) => load.stop()));
  await Promise.all(nodes.map((node) => cluster.startProcess(node)));

  await cluster.untilRedundant('none');
  await cluster.untilRedundant('sync');
  // Everything is lost, but for what a write that was still being repeated brought after the restart.
  const entries = (await cluster.compareReplicas('none')).entries;
  expect(entries).toBe(0);
  await client.set('new', 'life', { keyspace: 'none' });
  expect((await client.get('new', { keyspace: 'none' }))?.value.toString()).toBe('life');
  const losses = await eventually('the loss is told', async () => {
    const events = (await cluster.events('DATA_LOSS')).filter(({ keyspace }) => keyspace === 'none');
    const partitions = new Set(events.flatMap((event) => event.partitions));
    return partitions.size === PARTITIONS && events;
  }, BACK_MS);
  expect(losses[0]!.message).toMatch(/lost their data/);
  expect(none.counts.wrong).toEqual([]);

  expect((await cluster.events('DATA_LOSS')).filter(({ keyspace }) => keyspace === 'sync')).toEqual([]);
  expect(new Map((await cluster.partitions('sync')).map(({ id, generation }) => [id, generation]))).toEqual(generationsBefore);
  expect(sync.counts.wrong).toEqual([]);
  expect(await sync.verify()).toEqual([]);
  expect((await cluster.compareReplicas('sync')).problems).toEqual([]);
});

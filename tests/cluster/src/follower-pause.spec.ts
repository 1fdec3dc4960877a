// A follower that stands still for a while: it leaves the in-sync set, writes go on, and it returns by way of the log.
import { jest } from '@jest/globals';
import type { Partition } from '@atoll/contracts/atoll/v1/admin';
import { eventually } from '@atoll/platform-etcd/testing';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { Load } from './load.ts';

jest.setTimeout(90_000);

const SEED = 5001;
const CHANGE_MS = 20_000;

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3 });
  await cluster.createKeyspace({ name: 'one', partitionCount: 1 });
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

const partition = async (): Promise<Partition> => (await cluster.partitions('one'))[0]!;

it('a paused follower leaves the in-sync set, writes go on, and it catches up from the log', async () => {
  const load = new Load({ client: cluster.client(), keyspace: 'one', seed: SEED }).start();
  await load.progress();
  const { leader, inSync } = await partition();
  const follower = inSync.find((node) => node !== leader)!;
  const installs = async (): Promise<number> => (await cluster.metrics(follower)).sum('atoll_installs_total');
  const installsBefore = await installs();

  await cluster.pause(follower);
  await eventually('the follower has left the in-sync set', async () => (await partition()).inSync.join() === leader, CHANGE_MS);
  await load.progress(500);
  expect(await partition()).toMatchObject({ leader, inSync: [leader], learners: [follower] });

  await cluster.resume(follower);
  await cluster.untilRedundant('one');
  await load.progress();
  const { failures, wrong } = await load.stop();
  expect({ failures, wrong }).toEqual({ failures: {}, wrong: [] });
  expect(await load.verify()).toEqual([]);
  expect(await cluster.compareReplicas('one')).toMatchObject({ replicas: 2, problems: [] });
  expect((await partition()).leader).toBe(leader);
  expect(await installs()).toBe(installsBefore);
});

// Locks of clients on real processes: a holder that falls silent, a coordinator that is killed, and tokens that are refused.
import { jest } from '@jest/globals';
import { eventually } from '@atoll/platform-etcd/testing';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

jest.setTimeout(90_000);

const TTL_MS = 6000;
const WAIT_MS = 40_000;

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 2, coordinators: 2 });
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

it('what a former holder of a lock still sends is refused once its successor was seen (R38, I9)', async () => {
  const coordinators = cluster.up.coordinators.map(({ address }) => address);
  const client = cluster.client({ coordinators, deadlineMs: 20_000 });
  const former = await client.locks.acquire({ key: 'k', ttlMs: TTL_MS });
  await client.set('k', 'early', { fence: former.fence });
  former.abandon(); // as a process that was paused: it renews no more, and does not know it
  const successor = await client.locks.acquire({ key: 'k', ttlMs: 60_000, waitMs: WAIT_MS });
  expect(successor.fencingToken).toBeGreaterThan(former.fencingToken);
  expect((await client.get('k', { fence: successor.fence }))?.value.toString()).toBe('early');
  await expect(client.set('k', 'too late', { fence: former.fence })).rejects.toMatchObject({ reason: 'STALE_FENCING_TOKEN' });
  expect((await client.set('k', 'mine', { fence: successor.fence })).applied).toBe(true);
  await successor.release();
});

it('a lock is held, and a place in the queue kept, through the death of a coordinator', async () => {
  const coordinators = cluster.up.coordinators.map(({ address }) => address);
  const [holding, waiting] = [cluster.client({ coordinators, deadlineMs: 20_000 }), cluster.client({ coordinators, deadlineMs: 20_000 })];
  const lock = await holding.locks.acquire({ name: 'job', ttlMs: 30_000 });
  const next = waiting.locks.acquire({ name: 'job', ttlMs: 30_000, waitMs: WAIT_MS });
  await eventually('it waits', async () => (await holding.locks.list({ name: 'job' })).length === 2, WAIT_MS);
  await cluster.kill(cluster.up.coordinators[0]!.id);
  expect(lock.isHeld).toBe(true);
  expect(await holding.locks.renew({ name: 'job', requestId: lock.requestId })).toBe(30_000);
  await lock.release();
  const after = await next;
  expect(after.fencingToken).toBeGreaterThan(lock.fencingToken);
  await after.release();
});

// Nodes that are restarted one after the other, by whoever waits for nothing but `/readyz`, as an orchestrator does.
import { jest } from '@jest/globals';
import { NodeState } from '@atoll/contracts/atoll/v1/admin';
import { eventually } from '@atoll/platform-etcd/testing';
import { ChaosClients } from './chaos-clients.ts';
import { NO_HARM, harmOf } from './chaos-harm.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

jest.setTimeout(180_000);

const SEED = Number(process.env['CHAOS_SEED'] ?? 8401);
const VERDICT_MS = 20_000;
/** Enough for a node that comes back empty to take a while. */
const FILL_KEYS = 3000;
const FILL_VALUE = 'v'.repeat(4000);

let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, routers: 2 });
  await cluster.untilRedundant();
  for (let start = 0; start < FILL_KEYS; start += 500) {
    const entries = Array.from({ length: 500 }, (_, index) => ({ key: `fill-${start + index}`, value: `${start + index} ${FILL_VALUE}` }));
    const refused = (await cluster.client().setMany(entries, { deadlineMs: 30_000 })).filter(({ ok }) => !ok);
    if (refused.length > 0) throw new Error(`${refused.length} entries were refused`);
  }
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

it('loses nothing: a node is ready when the next one may stop', async () => {
  const chaos = new ChaosClients({ clients: [cluster.client(), cluster.client()], seed: SEED });
  await chaos.progress();
  for (const { id } of cluster.up.storageNodes) {
    await cluster.terminate(id);
    await cluster.startProcess(id);
    const { lastInSync } = (await cluster.nodes()).find((node) => node.id !== id)!;
    expect({ id, lastInSync }).toEqual({ id, lastInSync: [] });
  }
  expect(await harmOf(cluster, chaos)).toEqual(NO_HARM);
  const kept = await cluster.client().getMany(Array.from({ length: FILL_KEYS }, (_, index) => `fill-${index}`), { deadlineMs: 30_000 });
  expect(kept.filter((outcome, index) => !outcome.ok || outcome.value?.value.toString() !== `${index} ${FILL_VALUE}`)).toEqual([]);
  expect(await cluster.events('DATA_LOSS')).toEqual([]);
});

it('is held up by the others while one is away: they say whose only in-sync replica they have', async () => {
  const [gone, ...others] = cluster.up.storageNodes.map(({ id }) => id);
  await cluster.kill(gone!);
  await eventually(`${gone} is down`, async () => (await cluster.nodes()).find(({ id }) => id === gone)?.state === NodeState.NODE_STATE_DOWN, VERDICT_MS);
  for (const id of others) {
    const readiness = await eventually(`${id} is not ready`, async () => {
      const answer = await cluster.readiness(id);
      return answer?.status === 503 && answer.reasons.some((reason) => reason.startsWith('it has the only in-sync replica of default/')) && answer;
    }, VERDICT_MS);
    expect(readiness.reasons).toHaveLength(1);
    const { lastInSync, lastInSyncTotal } = (await cluster.nodes()).find((node) => node.id === id)!;
    expect(lastInSync[0]).toMatch(/^default\/\d+$/);
    expect(lastInSyncTotal).toBeGreaterThanOrEqual(lastInSync.length);
  }
  await cluster.startProcess(gone!);
  for (const id of others) await eventually(`${id} is ready`, async () => (await cluster.readiness(id))?.status === 200, VERDICT_MS);
  expect((await cluster.nodes()).map(({ lastInSyncTotal }) => lastInSyncTotal)).toEqual([0, 0, 0]);
});

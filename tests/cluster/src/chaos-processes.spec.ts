// Processes that die, stand still and are started again one after the other, under load. Whatever happens: the history
// of every key is linearizable, no acknowledged write is lost, and the cluster comes back to two replicas by itself.
import { jest } from '@jest/globals';
import { eventually } from '@atoll/platform-etcd/testing';
import { ChaosClients } from './chaos-clients.ts';
import { NO_HARM, harmOf, type Harm } from './chaos-harm.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

jest.setTimeout(180_000);

const SEED = Number(process.env['CHAOS_SEED'] ?? 7001);
const VERDICT_MS = 20_000;
const LONG_PAUSE_MS = 30_000;

let cluster: DevCluster;
let chaos: ChaosClients;
let round = 0;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, routers: 2, coordinators: 2 });
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

beforeEach(async () => {
  await cluster.untilRedundant();
  round += 1;
  // A client per router: what one cannot answer, the other can.
  const clients = [cluster.client(), cluster.client()];
  chaos = new ChaosClients({ clients, seed: SEED + 100 * round });
  await chaos.progress();
});

/** The node that leads most. */
async function busiestLeader(): Promise<string> {
  const counts = new Map<string, number>();
  for (const { leader } of await cluster.partitions()) counts.set(leader, (counts.get(leader) ?? 0) + 1);
  return [...counts].toSorted(([, left], [, right]) => right - left)[0]![0];
}

const leads = (node: string): Promise<number> => cluster.leaderships(node);

/** How many nodes were held DOWN so far. Leaders may change all the same: offices are spread evenly again after a fault. */
const falls = async (): Promise<number> => (await cluster.events('NODE_DOWN')).length;

const harm = (): Promise<Harm> => harmOf(cluster, chaos);

it('SIGKILL of a leader: its partitions are led elsewhere, and it comes back', async () => {
  const node = await busiestLeader();
  await cluster.kill(node);
  await eventually(`${node} leads nothing`, async () => (await leads(node)) === 0, VERDICT_MS);
  await chaos.progress();
  expect((await cluster.nodes()).find(({ id }) => id === node)).toMatchObject({ state: 3 });
  await cluster.startProcess(node);
  expect(await harm()).toEqual(NO_HARM);
});

it(`SIGSTOP of a leader for ${LONG_PAUSE_MS / 1000} s: after SIGCONT it answers nothing stale and acknowledges nothing that is lost`, async () => {
  const node = await busiestLeader();
  await cluster.pause(node);
  const pausedMs = performance.now();
  await eventually(`${node} leads nothing`, async () => (await leads(node)) === 0, VERDICT_MS);
  while (performance.now() - pausedMs < LONG_PAUSE_MS) await chaos.progress(100);
  await cluster.resume(node);
  expect(await harm()).toEqual(NO_HARM);
});

it('SIGSTOP of a leader for less than its lease: nothing is decided about it', async () => {
  const node = await busiestLeader();
  const felled = await falls();
  for (let time = 0; time < 3; time += 1) {
    const { pid } = (await cluster.status()).storageNodes.find(({ id }) => id === node)!;
    process.kill(pid!, 'SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, 300));
    process.kill(pid!, 'SIGCONT');
    await chaos.progress(50);
  }
  expect(await falls()).toBe(felled);
  expect(await harm()).toEqual(NO_HARM);
});

it('SIGKILL of the coordinator, and of a leader while it is away: the second one carries on', async () => {
  const elected = await cluster.electedCoordinator();
  const node = await busiestLeader();
  await cluster.kill(elected);
  await cluster.kill(node);
  await eventually('another coordinator is elected', async () => !['', elected].includes(await cluster.electedCoordinator()), VERDICT_MS);
  await eventually(`${node} leads nothing`, async () => (await leads(node)) === 0, VERDICT_MS);
  await chaos.progress();
  await cluster.startProcess(elected);
  await cluster.startProcess(node);
  expect(await harm()).toEqual(NO_HARM);
});

it('SIGSTOP of the coordinator: nobody is felled, and when it wakes up it decides nothing (R11)', async () => {
  const elected = await cluster.electedCoordinator();
  const felled = await falls();
  await cluster.pause(elected);
  await eventually('another coordinator is elected', async () => !['', elected].includes(await cluster.electedCoordinator()), VERDICT_MS);
  await chaos.progress();
  await cluster.resume(elected);
  await chaos.progress();
  expect(await falls()).toBe(felled);
  expect(await harm()).toEqual(NO_HARM);
});

it('SIGKILL of a router: its clients go on with the other', async () => {
  await cluster.kill('router-1');
  await chaos.progress();
  await cluster.startProcess('router-1');
  expect(await harm()).toEqual(NO_HARM);
});

it('a rolling restart of every storage node shows its clients no error', async () => {
  for (const { id } of cluster.up.storageNodes) {
    await cluster.terminate(id);
    await chaos.progress(50);
    await cluster.startProcess(id);
    await cluster.untilRedundant();
    await chaos.progress(50);
  }
  expect(await harm()).toEqual(NO_HARM);
});

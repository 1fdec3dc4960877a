// Networks that fail one way: nobody reaches a storage node, while that node still reaches everybody. It goes on
// believing that it leads; it must fall silent before its successors speak, and no acknowledged write may be lost.
import { jest } from '@jest/globals';
import { eventually } from '@atoll/platform-etcd/testing';
import { NetworkGate } from '@atoll/tests-bench';
import { ChaosClients } from './chaos-clients.ts';
import { NO_HARM, harmOf, type Harm } from './chaos-harm.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { ownAddresses, startService, type RunningService } from './service-process.ts';

jest.setTimeout(180_000);

const SEED = Number(process.env['CHAOS_SEED'] ?? 8001);
const SETTLE_MS = 60_000;
const NODE = 'node-behind-gate';

let cluster: DevCluster;
let gate: NetworkGate;
let service: RunningService;
let chaos: ChaosClients;
let round = 0;

beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 2 });
  const addresses = await ownAddresses();
  gate = await NetworkGate.open(addresses['ATOLL_LISTEN']!);
  service = startService('storage-node', { ...addresses, ATOLL_ID: NODE, ATOLL_ETCD: cluster.up.etcd, ATOLL_ADVERTISE: gate.address });
}, START_MS);

afterAll(async () => {
  await cluster?.stop();
  await service?.stop();
  await gate?.close();
}, STOP_MS);

const leads = (node: string): Promise<number> => cluster.leaderships(node);

beforeEach(async () => {
  gate.set({ kind: 'open' });
  await eventually(`${NODE} leads some partitions`, async () => (await leads(NODE)) > 5, SETTLE_MS);
  await cluster.untilRedundant();
  round += 1;
  chaos = new ChaosClients({ clients: [cluster.client()], seed: SEED + 100 * round });
  await chaos.progress();
});

const harm = (): Promise<Harm> => {
  gate.set({ kind: 'open' });
  return harmOf(cluster, chaos);
};

it('a node that nobody can connect to loses what it leads, and gets it back without a loss', async () => {
  gate.set({ kind: 'cut' });
  await eventually(`${NODE} leads nothing`, async () => (await leads(NODE)) === 0, SETTLE_MS);
  await chaos.progress();
  expect(await harm()).toEqual(NO_HARM);
});

it('a node whose connections stay and carry nothing any more is passed over as well', async () => {
  gate.set({ kind: 'silent' });
  await eventually(`${NODE} leads nothing`, async () => (await leads(NODE)) === 0, SETTLE_MS);
  await chaos.progress();
  expect(await harm()).toEqual(NO_HARM);
});

it('a network that comes and goes loses nothing', async () => {
  for (let time = 0; time < 5; time += 1) {
    gate.set({ kind: time % 2 === 0 ? 'cut' : 'silent' });
    await new Promise((resolve) => setTimeout(resolve, 400));
    gate.set({ kind: 'open' });
    await chaos.progress(40);
  }
  expect(await harm()).toEqual(NO_HARM);
});

it('a network that is 60 ms slower makes writes slower and fells nobody', async () => {
  const felled = (await cluster.events('NODE_DOWN')).length;
  gate.set({ kind: 'slow', delayMs: 60 });
  await chaos.progress(400);
  expect((await cluster.events('NODE_DOWN')).length).toBe(felled);
  expect(await harm()).toEqual(NO_HARM);
});

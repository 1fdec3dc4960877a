// A node is replaced by one command, while clients are served: one that runs, and one that is dead.
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { NodeState } from '@atoll/contracts/atoll/v1/admin';
import { eventually } from '@atoll/platform-etcd/testing';
import { ChaosClients } from './chaos-clients.ts';
import { NO_HARM, harmOf } from './chaos-harm.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { ROOT, runCommand } from './run-command.ts';

jest.setTimeout(180_000);

const SEED = Number(process.env['CHAOS_SEED'] ?? 8301);
const UP_MS = 30_000;
const REMOVE_MS = 30_000;
/** Replicas of 64 partitions on three nodes: none holds more than 1.1 times its share. */
const REPLICAS_MAX = Math.ceil((1.1 * 128) / 3);

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
  chaos = new ChaosClients({ clients: [cluster.client(), cluster.client()], seed: SEED + 100 * round, keys: 160 });
  await chaos.progress();
});

const heldBy = async (node: string): Promise<number> => (await cluster.partitions()).filter(({ inSync, learners }) => [...inSync, ...learners].includes(node)).length;

/** `atoll nodes replace OLD NEW --watch`: resolves when the job has ended. */
async function replace(from: string, to: string): Promise<void> {
  await eventually(`${to} is up`, async () => (await cluster.nodes()).find(({ id }) => id === to)?.state === NodeState.NODE_STATE_UP, UP_MS);
  const { code, stdout, stderr } = await runCommand(process.execPath, [join(ROOT, 'apps/cli/src/main.ts'), 'nodes', 'replace', from, to, '--watch', '--data-dir', cluster.dataDir]);
  expect({ code, stderr: code === 0 ? '' : stderr, stdout: code === 0 ? '' : stdout }).toEqual({ code: 0, stderr: '', stdout: '' });
  const job = (await cluster.migrations()).find(({ reason, description }) => reason === 'REPLACE' && description === `${to} takes the place of ${from}`);
  expect(job).toMatchObject({ partitionsRolledBack: 0, problem: '' });
  expect(job!.partitionsDone).toBe(job!.partitionsTotal);
}

/** The old one is no more, and the others hold everything between them. */
async function expectReplaced(from: string): Promise<void> {
  await eventually(`${from} is removed`, () => cluster.removeNode(from).then(() => true, () => false), REMOVE_MS);
  await cluster.untilRedundant();
  const held = await Promise.all((await cluster.nodes()).filter(({ id }) => id !== from).map(async ({ id }) => [id, await heldBy(id)] as const));
  expect(held.filter(([id, count]) => count > REPLICAS_MAX && id !== from)).toEqual([]);
  expect(await harmOf(cluster, chaos)).toEqual(NO_HARM);
}

it('a node that runs: it ends empty and can be stopped, and the new one has its place', async () => {
  const { id } = await cluster.addNode();
  await replace('node-2', id);
  expect(await heldBy('node-2')).toBe(0);
  await cluster.terminate('node-2');
  await expectReplaced('node-2');
});

it('a node that is dead: its replicas are copied from the others', async () => {
  await cluster.kill('node-3');
  const { id } = await cluster.addNode();
  await replace('node-3', id);
  expect(await heldBy('node-3')).toBe(0);
  await expectReplaced('node-3');
});

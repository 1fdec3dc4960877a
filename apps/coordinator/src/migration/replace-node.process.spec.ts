import type { ReplaceNodeRequest } from '@atoll/contracts/atoll/v1/migration';
import { callUnary } from '@atoll/platform-grpc';
import { eventually } from '@atoll/platform-etcd/testing';
import { DEADLINE, MigrationCluster, eventuallyShown, failureOf, hasEnded, stateOf, tableOf } from '../testing/migration-cluster.ts';
import type { RunningCoordinator } from '../testing/run-coordinator.ts';

const SEED = 20_261_121;

let cluster: MigrationCluster;
let running: RunningCoordinator;
beforeEach(() => {
  cluster = new MigrationCluster(SEED);
});
afterEach(() => cluster.stop());

const ask = (fields: Partial<ReplaceNodeRequest> = {}): ReplaceNodeRequest => ({ id: 'r', from: 'a', to: 'd', bytesPerSecond: 0, fullVerify: false, dryRun: false, ...fields });
const replace = (fields: Partial<ReplaceNodeRequest> = {}) => callUnary(running.admin, 'replaceNode', ask(fields), DEADLINE);
const heldBy = async (node: string): Promise<number[]> => (await tableOf(running.admin)).filter(({ inSync, learners }) => [...inSync, ...learners].includes(node)).map(({ id }) => id);
const ledBy = async (node: string): Promise<number[]> => (await tableOf(running.admin)).filter(({ leader }) => leader === node).map(({ id }) => id);
const wantedOf = async (node: string): Promise<string | undefined> => (await callUnary(running.admin, 'listNodes', {}, DEADLINE)).nodes.find(({ id }) => id === node)?.wanted;
const isWhole = async (): Promise<boolean> => (await tableOf(running.admin)).every(({ inSync, learners }) => inSync.length === 2 && learners.length === 0);
const migrations = async () => (await callUnary(running.admin, 'listMigrations', { limit: 0, active: false }, DEADLINE)).migrations;
/** Whether leaders take learners into their in-sync sets. */
const setLeadersAtWork = (isLeaderAtWork: boolean): void => {
  for (const node of cluster.nodes.values()) Object.assign(node, { isLeaderAtWork });
};

/** d has joined, and nothing that spreads load to it comes to an end. */
async function joined(): Promise<void> {
  setLeadersAtWork(false);
  await cluster.node('d');
  await eventually('d is being given its share', async () => (await migrations()).some(({ reason }) => reason === 'JOIN'), 20_000);
}

describe(`the replacement of a node by another (seed ${SEED})`, () => {
  it('gives the new one exactly what the old one held, as one job that says so; the old one ends empty and drained', async () => {
    running = await cluster.start();
    const before = await heldBy('a');
    const others = [await heldBy('b'), await heldBy('c')];
    await joined();
    const { migration, partitions, refusals } = await replace();
    expect({ reason: migration!.reason, description: migration!.description, refusals }).toEqual({ reason: 'REPLACE', description: 'd takes the place of a', refusals: [] });
    expect(partitions.map(({ partition }) => partition)).toEqual(before);
    expect((await replace()).migration!.createdAtMs).toBe(migration!.createdAtMs);
    setLeadersAtWork(true);
    expect(stateOf((await eventuallyShown(running.admin, 'r', 'it ends', hasEnded)).migration)).toBe('SUCCEEDED');
    await eventually('all is whole', isWhole);
    expect([await heldBy('a'), await heldBy('b'), await heldBy('c'), await heldBy('d')]).toEqual([[], ...others, before]);
    expect(await wantedOf('a')).toBe('DRAINING');
    await cluster.nodes.get('a')!.kill();
    await eventually('a is removed', () => callUnary(running.admin, 'removeNode', { node: 'a', dataIsLost: false }, DEADLINE).then(() => true, () => false), 20_000);
    expect((await migrations()).filter(({ createdAtMs }) => createdAtMs > migration!.createdAtMs)).toEqual([]);
  }, 60_000);

  it('works when the old one is dead: its replicas are copied from the others', async () => {
    running = await cluster.start();
    const before = await heldBy('a');
    await joined();
    await cluster.nodes.get('a')!.kill();
    await eventually('others lead what it led', async () => (await ledBy('a')).length === 0 && (await tableOf(running.admin)).every(({ leader }) => leader !== ''), 20_000);
    const { partitions } = await replace();
    expect(partitions.map(({ partition }) => partition)).toEqual(before);
    setLeadersAtWork(true);
    expect(stateOf((await eventuallyShown(running.admin, 'r', 'it ends', hasEnded)).migration)).toBe('SUCCEEDED');
    await eventually('all is whole', isWhole);
    expect([await heldBy('a'), await heldBy('d')]).toEqual([[], before]);
    await eventually('a is removed', () => callUnary(running.admin, 'removeNode', { node: 'a', dataIsLost: false }, DEADLINE).then(() => true, () => false), 20_000);
  }, 60_000);

  it('that is cancelled has the old one wanted again, and nothing is drained from it', async () => {
    running = await cluster.start();
    const before = await heldBy('a');
    await joined();
    await replace();
    await eventually('a is drained', async () => (await wantedOf('a')) === 'DRAINING');
    await callUnary(running.admin, 'cancelMigration', { id: 'r' }, DEADLINE);
    expect(stateOf((await eventuallyShown(running.admin, 'r', 'it ends', hasEnded)).migration)).toBe('CANCELLED');
    expect(await wantedOf('a')).toBe('UP');
    expect(await heldBy('a')).toEqual(before);
  }, 60_000);

  it('goes on under another coordinator, which drains the old one where the first had not come to it', async () => {
    running = await cluster.start({ COORDINATOR_ELECTION_TTL_MS: '1000' });
    await joined();
    await replace();
    const second = await cluster.coordinator('c2', { COORDINATOR_ELECTION_TTL_MS: '1000' });
    await running.stop();
    running = second;
    setLeadersAtWork(true);
    expect(stateOf((await eventuallyShown(running.admin, 'r', 'it ends', hasEnded)).migration)).toBe('SUCCEEDED');
    expect([await heldBy('a'), await wantedOf('a')]).toEqual([[], 'DRAINING']);
  }, 60_000);

  it('is shown by a dry run, which cancels and drains nothing', async () => {
    running = await cluster.start();
    await joined();
    const { partitions } = await replace({ dryRun: true });
    expect(partitions.length).toBeGreaterThan(20);
    expect((await migrations()).map(({ reason, endedAtMs }) => [reason, endedAtMs])).toEqual([['JOIN', 0]]);
    expect(await wantedOf('a')).toBe('UP');
  });

  it.each([
    ['an unknown old node', { from: 'x' }, 'from: there is no node named "x"'],
    ['an unknown new node', { to: 'x' }, 'to: there is no node named "x"'],
    ['no old node', { from: '' }, 'from: is missing'],
    ['the same node twice', { to: 'a' }, 'to: is the same node as from, a'],
    ['an id that cannot be one', { id: 'a/b' }, 'id: must be 1 to 64 characters of [A-Za-z0-9_-]'],
    ['a bound that is none', { bytesPerSecond: 5 }, 'bytes_per_second: must be 0 or a whole number of at least 1024'],
  ])('refuses %s', async (_, fields, message) => {
    running = await cluster.start();
    expect((await failureOf(replace({ to: 'b', ...fields })))?.message).toBe(message);
  });
});

import { callUnary } from '@atoll/platform-grpc';
import { eventually } from '@atoll/platform-etcd/testing';
import { DEADLINE, MigrationCluster, failureOf, tableOf } from './testing/migration-cluster.ts';
import type { RunningCoordinator } from './testing/run-coordinator.ts';

const SEED = 20_261_122;

let cluster: MigrationCluster;
let running: RunningCoordinator;
beforeEach(async () => {
  cluster = new MigrationCluster(SEED);
  running = await cluster.start();
});
afterEach(() => cluster.stop());

const nodeOf = async (id: string) => (await callUnary(running.admin, 'listNodes', {}, DEADLINE)).nodes.find((node) => node.id === id)!;
const onlyOn = async (node: string): Promise<string[]> => (await tableOf(running.admin)).filter(({ inSync }) => inSync.join() === node).map(({ id }) => `default/${id}`);

/** c is gone, and what it shared is in sync on one node alone. */
async function loseC(): Promise<void> {
  await cluster.nodes.get('c')!.kill();
  await eventually('nobody counts c in', async () => (await tableOf(running.admin)).every(({ inSync }) => !inSync.includes('c')), 20_000);
}

describe(`whoever has the only in-sync replica of a partition (seed ${SEED})`, () => {
  it('is nobody in a healthy cluster', async () => {
    for (const id of ['a', 'b', 'c']) expect(await nodeOf(id)).toMatchObject({ lastInSync: [], lastInSyncTotal: 0 });
  });

  it('is told by the list of nodes, and by the answer to a drain, which copies before it takes', async () => {
    await loseC();
    const expected = await onlyOn('a');
    expect(expected.length).toBeGreaterThan(0);
    expect(await nodeOf('a')).toMatchObject({ lastInSync: expected.slice(0, 20), lastInSyncTotal: expected.length });
    for (const node of cluster.nodes.values()) node.isLeaderAtWork = false;
    const { node } = await callUnary(running.admin, 'drainNode', { node: 'a', undo: false }, DEADLINE);
    expect(node).toMatchObject({ wanted: 'DRAINING', lastInSync: expected.slice(0, 20) });
    expect(await onlyOn('a')).toEqual(expected);
    for (const each of cluster.nodes.values()) each.isLeaderAtWork = true;
    await eventually('a holds nothing that nobody else has', async () => (await onlyOn('a')).length === 0 && (await nodeOf('a')).lastInSyncTotal === 0, 20_000);
  }, 60_000);

  it('is not removed when it is dead, unless its loss is stated: the refusal names the partitions', async () => {
    await loseC();
    const expected = await onlyOn('a');
    await cluster.nodes.get('a')!.kill();
    const refused = await eventually('a is known to be gone', async () => {
      const error = await failureOf(callUnary(running.admin, 'removeNode', { node: 'a', dataIsLost: false }, DEADLINE));
      return error?.message.includes('still holds') === true && error;
    }, 20_000);
    expect(refused).toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'data_is_lost' } });
    expect(refused.message).toContain(`nobody else is in sync with ${expected.slice(0, 5).join(', ')} and ${expected.length - 5} more, which would be lost`);
  }, 60_000);
});

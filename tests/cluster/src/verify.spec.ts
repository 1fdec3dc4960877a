// Replicas of a real cluster are compared while clients write: on request, by a sync, and in the background (R34).
import { jest } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import { eventually } from '@atoll/platform-etcd/testing';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';
import { Load } from './load.ts';
import { runCommand } from './run-command.ts';

jest.setTimeout(120_000);

const SEED = 9021;
const CLI = fileURLToPath(new URL('../../../apps/cli/src/main.ts', import.meta.url));

let cluster: DevCluster;

beforeAll(async () => {
  // The whole cluster is compared every second or so: what passes here has been compared in the background, too.
  cluster = await DevCluster.start({ nodes: 3, env: { COORDINATOR_VERIFY_EVERY_MS: '1000', COORDINATOR_VERIFY_PARTITIONS_PER_SECOND: '100' } });
}, START_MS);

afterAll(() => cluster?.stop(), STOP_MS);

/** `atoll ...` against this cluster: exit code, and the JSON that it printed. */
async function atoll(...args: string[]) {
  const { code, stdout, stderr } = await runCommand(process.execPath, [CLI, ...args, '--json', '--data-dir', cluster.dataDir]);
  return { code, stderr, answer: JSON.parse(stdout || 'null') as { totals: Record<string, number> } | null };
}

it('finds replicas equal while clients write, and installs everything again without harm', async () => {
  await cluster.untilRedundant();
  const partitions = (await cluster.partitions()).length;
  const load = new Load({ client: cluster.client(), seed: SEED }).start();
  await load.progress();

  const verified = await atoll('verify');
  expect(verified).toMatchObject({ code: 0, answer: { totals: { partitions, replicas: partitions, equal: 64 * partitions, repaired: 0, different: 0, contested: 0, problems: 0 } } });
  const synced = await atoll('sync', '--keyspace', 'default', '--partition', '0', '--partition', '1', '--everything');
  expect(synced).toMatchObject({ code: 0, answer: { totals: { partitions: 2, replicas: 2, equal: 128, repaired: 128, different: 0, problems: 0 } } });

  await eventually('the background pass has been round', async () => {
    const page = await cluster.metrics('coordinator-1');
    return page.sum('atoll_coordinator_verified_ranges_total', 'result="equal"') > 64 * 3 * partitions;
  }, 60_000);
  const page = await cluster.metrics('coordinator-1');
  expect(page.sum('atoll_coordinator_verified_ranges_total', 'result="different"')).toBe(0);

  const { failures, wrong } = await load.stop();
  expect({ failures, wrong }).toEqual({ failures: {}, wrong: [] });
  expect(await load.verify()).toEqual([]);
  expect(await cluster.compareReplicas()).toMatchObject({ partitions, problems: [] });
});

it('says what it does not know: a keyspace, a node, a partition', async () => {
  expect((await atoll('verify', '--keyspace', 'nowhere')).stderr).toContain('KEYSPACE_NOT_FOUND');
  expect((await atoll('sync', '--node', 'nobody')).stderr).toContain('NODE_NOT_FOUND');
  expect((await atoll('verify', '--keyspace', 'default', '--partition', '4000')).stderr).toContain('partitions');
});

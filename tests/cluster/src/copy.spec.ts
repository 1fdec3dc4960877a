// A keyspace is copied into another one of other partitions and replicas while clients write to it, and while nodes that lead
// partitions of both are killed (R37).
import { jest } from '@jest/globals';
import { MigrationMethod, MigrationState, MigrationStep } from '@atoll/contracts/atoll/v1/migration';
import { isAtollError } from '@atoll/core-errors';
import { eventually } from '@atoll/platform-etcd/testing';
import { SteadyWriter, differingKeys, keyOf } from './copied-keys.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

jest.setTimeout(240_000);

const KEYS = 6000;
const SOURCE = 'orders';
const TARGET = 'orders-wide';
const END_MS = 60_000;
const LONG = { deadlineMs: 30_000 };

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3, coordinators: 2 });
  await cluster.createKeyspace({ name: SOURCE, partitionCount: 8, replicationFactor: 2 });
  await cluster.untilRedundant(SOURCE);
}, START_MS);
afterAll(() => cluster?.stop(), STOP_MS);

const differing = (): Promise<string[]> => differingKeys(cluster.client({ keyspace: SOURCE }), cluster.client({ keyspace: TARGET }), KEYS);

const followed = (): Promise<unknown> =>
  eventually(
    'the copy is whole and has no lag',
    async () => {
      const { migration, partitions } = await cluster.migration('c');
      return migration.copy?.following === true && migration.copy.lagSeq === 0 && partitions.every(({ step, problem }) => step === MigrationStep.MIGRATION_STEP_FOLLOW && problem === '');
    },
    END_MS,
  );

it('has all that its source has, also when those are killed who lead, and is gone when it is cancelled', async () => {
  const client = cluster.client({ keyspace: SOURCE });
  const fill = async (from: number, to: number, value: string): Promise<void> => {
    for (let start = from; start < to; start += 500) {
      const refused = (await client.setMany(Array.from({ length: 500 }, (_, index) => ({ key: keyOf(start + index), value: `${start + index} ${value}`.padEnd(500) })), LONG)).filter(({ ok }) => !ok);
      expect(refused).toEqual([]);
    }
  };
  await fill(0, KEYS, 'first');
  const { migration } = await cluster.startMigration({ id: 'c', method: MigrationMethod.MIGRATION_METHOD_COPY, keyspace: SOURCE, target: { name: TARGET, partitionCount: 32, replicationFactor: 3, minInSync: 1 } });
  expect(migration).toMatchObject({ state: MigrationState.MIGRATION_STATE_RUNNING, partitionsTotal: 32 });

  // Somebody writes and deletes all the time; two nodes and the coordinator that began it go, one after the other.
  const writer = new SteadyWriter(client, KEYS);
  await eventually('some partitions are copied', async () => (await cluster.migration('c')).migration.entries > 0, END_MS);
  await cluster.kill('node-1');
  await followed();
  await cluster.startProcess('node-1');
  await cluster.untilRedundant(SOURCE);
  await cluster.kill(await cluster.electedCoordinator());
  await cluster.kill('node-2');
  const before = writer.written;
  await eventually('writers go on', () => writer.hasWritten(200, before), END_MS);
  await writer.stop();
  expect(writer.failures).toEqual([]);
  await followed();
  // What the job tells of the lag is up to a second old: the last writes may still be on their way.
  await eventually('source and copy say the same of every key', async () => (await differing()).length === 0, 20_000);
  const compared = await eventually('every partition was compared since its leader leads', async () => {
    const { copy } = (await cluster.migration('c')).migration;
    return copy?.comparedEntries === undefined ? undefined : copy;
  }, END_MS);
  expect(compared.differing).toBe(0);
  expect(compared.comparedEntries).toBeGreaterThan(KEYS / 2);

  const refused = await client.set('mine', 'x', { keyspace: TARGET, ...LONG }).then(
    () => 'taken',
    (error: unknown) => (isAtollError(error) ? error.reason : String(error)),
  );
  expect(refused).toBe('KEYSPACE_COPYING');

  await cluster.cancelMigration('c');
  const ended = await eventually('it has ended', async () => {
    const now = (await cluster.migration('c')).migration;
    return now.endedAtMs > 0 ? now : undefined;
  }, END_MS);
  expect(ended.state).toBe(MigrationState.MIGRATION_STATE_CANCELLED);
  await eventually('nothing is left of it', async () => (await Promise.all(['node-1', 'node-3'].map((node) => cluster.replicas(node)))).flat().every(({ keyspace }) => keyspace !== TARGET), END_MS);
});

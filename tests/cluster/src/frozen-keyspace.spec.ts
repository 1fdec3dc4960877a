// A keyspace takes no writes from when an operator has it frozen until it is unfrozen, whatever dies meanwhile, and is read.
import { jest } from '@jest/globals';
import { isAtollError } from '@atoll/client';
import { MigrationState } from '@atoll/contracts/atoll/v1/migration';
import { eventually } from '@atoll/platform-etcd/testing';
import { AcknowledgedWriter } from './acknowledged-writer.ts';
import { DevCluster, START_MS, STOP_MS } from './dev-cluster.ts';

jest.setTimeout(180_000);

const NAME = 'orders';
const KEYS = 200;
const END_MS = 60_000;
const LONG = { deadlineMs: 20_000 };

let cluster: DevCluster;
beforeAll(async () => {
  cluster = await DevCluster.start({ nodes: 3 });
  await cluster.createKeyspace({ name: NAME, partitionCount: 8, replicationFactor: 2 });
  await cluster.untilRedundant(NAME);
}, START_MS);
afterAll(() => cluster?.stop(), STOP_MS);

it('is frozen across the deaths of a leader and of the coordinator, and while a replica moves; what was acknowledged before is all there is; then it takes writes again', async () => {
  const client = cluster.client({ keyspace: NAME });
  const writer = new AcknowledgedWriter({ client, keys: KEYS });
  const lost = (): Promise<string[]> => writer.lost(client);
  const refused = (): number => writer.refused('KEYSPACE_FROZEN');
  await eventually('every key was written', () => writer.acknowledged.size === KEYS, END_MS);
  const frozen = await cluster.freezeKeyspace(NAME, 'for a look');
  expect(frozen.freeze).toMatchObject({ note: 'for a look', movedToCluster: '' });
  // Once more is the same as once.
  expect((await cluster.freezeKeyspace(NAME, 'again')).freeze).toEqual(frozen.freeze);
  await eventually('writers are refused', () => refused() > 20, END_MS);
  expect(await client.set('mine', 'x', LONG).catch((error: unknown) => isAtollError(error) && [error.reason, error.message, error.metadata['keyspace']])).toEqual(['KEYSPACE_FROZEN', `keyspace: ${NAME} is frozen and takes no writes until it is unfrozen: for a look`, NAME]);
  expect(await lost()).toEqual([]);
  const writes = writer.writes;

  const before = await cluster.partitions(NAME);
  const killed = before[0]!.leader;
  await cluster.kill(killed);
  await eventually('others lead', async () => (await cluster.partitions(NAME)).every(({ leader }) => leader !== '' && leader !== killed), END_MS);
  await eventually('writers are refused by the next leaders', ((earlier) => () => refused() > earlier + 50)(refused()), END_MS);
  expect(await lost()).toEqual([]);
  await cluster.startProcess(killed);
  await cluster.untilRedundant(NAME);

  const coordinator = await cluster.electedCoordinator();
  await cluster.kill(coordinator);
  await cluster.startProcess(coordinator);
  await eventually('it is elected again', async () => (await cluster.electedCoordinator()) === coordinator, END_MS);
  // Replicas are moved as ever: copied, compared at a marker, and given the office.
  const nodes = ['node-1', 'node-2', 'node-3'];
  const { id, leader, inSync } = (await cluster.partitions(NAME))[0]!;
  const spare = nodes.find((node) => !inSync.includes(node))!;
  await cluster.startMigration({ id: 'm', keyspace: NAME, partitions: [id], from: leader, to: spare });
  const moved = await eventually('it is moved', async () => {
    const { migration } = await cluster.migration('m');
    return migration.endedAtMs > 0 ? migration : undefined;
  }, END_MS);
  expect([moved.state, moved.problem]).toEqual([MigrationState.MIGRATION_STATE_SUCCEEDED, '']);
  expect((await cluster.partitions(NAME))[0]!.leader).toBe(spare);
  expect(await lost()).toEqual([]);
  // Nothing was acknowledged in all that time.
  expect(writer.writes).toBe(writes);

  expect((await cluster.unfreezeKeyspace(NAME)).freeze).toBeUndefined();
  await eventually('writers go on', () => writer.writes > writes + 200, END_MS);
  await writer.stop();
  // Who was waiting for a leader that died cannot know whether it had taken the write.
  expect([...writer.refusals.keys()].filter((reason) => reason !== 'WRITE_IN_DOUBT')).toEqual(['KEYSPACE_FROZEN']);
  expect(await lost()).toEqual([]);
  expect((await cluster.compareReplicas(NAME)).problems).toEqual([]);
});

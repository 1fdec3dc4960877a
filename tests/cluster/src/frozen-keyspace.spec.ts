// A keyspace takes no writes from when an operator has it frozen until it is unfrozen, whatever dies meanwhile, and is read.
import { setTimeout as pause } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { isAtollError, type AtollClient } from '@atoll/client';
import { MigrationState } from '@atoll/contracts/atoll/v1/migration';
import { eventually } from '@atoll/platform-etcd/testing';
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

/** Writes all keys over and over; what was acknowledged last, by key, and what it was refused with. */
class Writer {
  readonly acknowledged = new Map<string, string>();
  readonly refusals = new Map<string, number>();
  writes = 0;
  readonly #stop = new AbortController();
  readonly #writing: Promise<unknown>;

  constructor(client: AtollClient) {
    this.#writing = Promise.all(Array.from({ length: 4 }, (_, worker) => this.#write(client, worker)));
  }

  async #write(client: AtollClient, worker: number): Promise<void> {
    for (let round = worker; !this.#stop.signal.aborted; round += 4) {
      const key = `key-${round % KEYS}`;
      try {
        await client.set(key, `value ${round}`, LONG);
        this.acknowledged.set(key, `value ${round}`);
        this.writes += 1;
      } catch (error) {
        const reason = isAtollError(error) ? error.reason : String(error);
        this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1);
        // A refusal is answered at once: refused writers would take the processor from everybody.
        await pause(5);
      }
    }
  }

  get refused(): number {
    return this.refusals.get('KEYSPACE_FROZEN') ?? 0;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#writing;
  }
}

it('is frozen across the deaths of a leader and of the coordinator, and while a replica moves; what was acknowledged before is all there is; then it takes writes again', async () => {
  const client = cluster.client({ keyspace: NAME });
  const writer = new Writer(client);
  const lost = async (): Promise<string[]> => {
    const keys = [...writer.acknowledged.keys()];
    const found = await client.getMany(keys, LONG);
    return keys.filter((key, index) => {
      const outcome = found[index]!;
      return !outcome.ok || outcome.value?.value.toString() !== writer.acknowledged.get(key);
    });
  };
  await eventually('every key was written', () => writer.acknowledged.size === KEYS, END_MS);
  const frozen = await cluster.freezeKeyspace(NAME, 'for a look');
  expect(frozen.freeze).toMatchObject({ note: 'for a look', movedToCluster: '' });
  // Once more is the same as once.
  expect((await cluster.freezeKeyspace(NAME, 'again')).freeze).toEqual(frozen.freeze);
  await eventually('writers are refused', () => writer.refused > 20, END_MS);
  expect(await client.set('mine', 'x', LONG).catch((error: unknown) => isAtollError(error) && [error.reason, error.message, error.metadata['keyspace']])).toEqual(['KEYSPACE_FROZEN', `keyspace: ${NAME} is frozen and takes no writes until it is unfrozen: for a look`, NAME]);
  expect(await lost()).toEqual([]);
  const writes = writer.writes;

  const before = await cluster.partitions(NAME);
  const killed = before[0]!.leader;
  await cluster.kill(killed);
  await eventually('others lead', async () => (await cluster.partitions(NAME)).every(({ leader }) => leader !== '' && leader !== killed), END_MS);
  await eventually('writers are refused by the next leaders', ((refused) => () => writer.refused > refused + 50)(writer.refused), END_MS);
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

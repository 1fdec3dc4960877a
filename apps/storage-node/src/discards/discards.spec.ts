// A node that returns to partitions that were reset, or recovered from another replica, while it was away.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toEpoch, type ReplicaId } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import type { DiscardedWrites } from '@atoll/contracts/atoll/v1/heartbeat';
import type { Member } from '@atoll/core-membership';
import { DEADLINE, NodeWorld, type WorldNode } from '../testing/node-world.ts';
import { RawCoordinator } from '../testing/raw-coordinator.ts';
import type { TcpGate } from '../testing/tcp-gate.ts';

const SEED = 20_261_130;
const AFTER_RESET = { counter: 2, id: 'g2' };

describe(`writes that are gone (seed ${SEED})`, () => {
  let world: NodeWorld;
  let directory: string;
  let gate: TcpGate;
  let a: WorldNode;
  let b: WorldNode;
  let keyspace: { readonly name: string; readonly id: string };

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'atoll-discards-'));
    world = new NodeWorld(SEED);
    gate = await world.gate();
    a = await world.start('a', { gate, env: { STORAGE_NODE_DATA_DIR: directory } });
    b = await world.start('b');
    keyspace = await world.createKeyspace({ onDataLoss: 'RESET', replicationFactor: 2 }, [a]);
    for (const key of ['k1', 'k2', 'k3', 'k4']) await a.set(key, 'old');
  });

  afterEach(async () => {
    await world.stop();
    await rm(directory, { recursive: true, force: true });
  });

  function cutOff(): void {
    gate.close();
    a.store.goAway();
  }

  function comeBack(): void {
    gate.open();
    a.store.comeBack();
  }

  /** As the coordinator does behind the fence (R15): `to` begins anew, empty. `learners` of the former members. */
  async function reset({ to = b, learners = (former) => former }: { to?: WorldNode; learners?: (former: readonly Member[]) => readonly Member[] } = {}): Promise<void> {
    const { incarnation, member } = await world.ensure(to, keyspace);
    const change = (changes: Parameters<NodeWorld['change']>[0]): void => world.change(changes, keyspace.name);
    change((record) => ({ state: 'FENCING', epoch: toEpoch(record.epoch + 1), leader: undefined, leaderIncarnation: '' }));
    change((record) => ({
      state: 'ACTIVE',
      generation: AFTER_RESET,
      epoch: toEpoch(record.epoch + 1),
      leader: member,
      leaderIncarnation: incarnation,
      inSync: [member],
      learners: learners(record.inSync),
    }));
    await world.serving(to, keyspace.name);
  }

  async function told(coordinator: RawCoordinator): Promise<readonly DiscardedWrites[]> {
    return eventually('it is told', async () => {
      const { discards } = await coordinator.report();
      return discards.length > 0 && discards;
    });
  }

  it('are listed, and only they, when the only replica that had them returns behind a reset; it overwrites nothing (R1, R3)', async () => {
    const former = world.record().record.inSync[0]!.replica;
    cutOff();
    await reset();
    await b.set('k2', 'new');
    await b.set('k5', 'new');
    comeBack();
    await world.inSync(['a', 'b']);
    expect(world.record().record.inSync.map(({ replica }): ReplicaId => replica)).toContain(former);

    const coordinator = new RawCoordinator(a).hello(await world.clusterId(), 20);
    const discards = await told(coordinator);
    expect(discards).toHaveLength(1);
    expect(discards[0]).toMatchObject({ keyspace: 'default', partitions: [0], discarded: 3, superseded: 1, kept: 0, unknown: 0 });
    expect([...discards[0]!.firstKeys].sort()).toEqual(['k1', 'k3', 'k4']);
    const lines = (await readFile(discards[0]!.listFile, 'utf8')).trimEnd().split('\n').map((line) => JSON.parse(line) as { key: string });
    expect(lines.map(({ key }) => key).sort()).toEqual(['k1', 'k3', 'k4']);
    expect(await a.metric('atoll_former_entries_total', 'outcome="discarded"')).toBe(3);
    expect(await a.metric('atoll_former_entries_total', 'outcome="superseded"')).toBe(1);

    // It is told until it was heard.
    expect((await coordinator.report()).discards).toHaveLength(1);
    await coordinator.report({ discardsTaken: discards[0]!.number });
    expect((await coordinator.report()).discards).toEqual([]);
    coordinator.close();

    expect(await world.equalDigests([a, b])).toBe(2);
    for (const [key, value] of [['k1', undefined], ['k2', 'new'], ['k5', 'new']] as const) expect(await b.text(key)).toBe(value);
  });

  it('are listed, too, when the old replica is read from the disk of a process that begins anew', async () => {
    const durable = await world.createKeyspace({ name: 'durable', durability: 'SYNC', onDataLoss: 'RESET', replicationFactor: 2 }, [a]);
    for (const key of ['k1', 'k2']) await a.set(key, 'old', { keyspace: durable.name });
    await a.stop();
    const c = await world.start('c', { env: { STORAGE_NODE_DATA_DIR: join(directory, 'c') } });
    keyspace = durable;
    await reset({ to: c });
    await c.set('k2', 'new', { keyspace: durable.name });
    const again = await world.start('a', { env: { STORAGE_NODE_DATA_DIR: directory } });
    const discards = await told(new RawCoordinator(again).hello(await world.clusterId(), 20));
    expect(discards).toMatchObject([{ keyspace: durable.name, discarded: 1, superseded: 1, unknown: 0, firstKeys: ['k1'] }]);
    expect(await world.equalDigests([again, c], durable.name)).toBe(1);
  });

  it('are listed as not compared when the record does not name the replica any more', async () => {
    cutOff();
    await reset({ learners: () => [] });
    comeBack();
    const discards = await told(new RawCoordinator(a).hello(await world.clusterId(), 20));
    expect(discards[0]).toMatchObject({ discarded: 0, superseded: 0, kept: 0, unknown: 4 });
    expect([...discards[0]!.firstKeys].sort()).toEqual(['k1', 'k2', 'k3', 'k4']);
    expect(await a.held()).toEqual([]);
  });

  it('are told of no replica that is filled, or moves away, within one generation', async () => {
    await world.addLearner(b, keyspace);
    await world.inSync(['a', 'b']);
    await world.promote(b, { dropped: ['a'] });
    world.change(() => ({ learners: [] }));
    await eventually('a dropped its replica', async () => (await a.held()).length === 0);
    const { replicas } = await callUnary(a.replication, 'listReplicas', {}, DEADLINE);
    expect(replicas).toEqual([]);
    for (const outcome of ['discarded', 'superseded', 'kept', 'unknown']) expect(await a.metric('atoll_former_entries_total', `outcome="${outcome}"`)).toBe(0);
    await world.serving(b);
    expect(await b.text('k1')).toBe('old');
  });
});

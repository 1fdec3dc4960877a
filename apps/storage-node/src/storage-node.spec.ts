import { setTimeout as pause } from 'node:timers/promises';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ack } from '@atoll/contracts/atoll/v1/cache';
import { keyspaceKey, nodeKey, partitionKey } from '@atoll/platform-etcd';
import { eventually } from '@atoll/platform-etcd/testing';
import { NodeWorld, failureOf } from './testing/node-world.ts';

const SEED = 20_261_004;

describe(`the life of storage nodes (seed ${SEED})`, () => {
  let world: NodeWorld;
  let directories: string[];

  beforeEach(() => {
    world = new NodeWorld(SEED);
    directories = [];
  });

  afterEach(async () => {
    await world.stop();
    for (const directory of directories) await rm(directory, { recursive: true, force: true });
  });

  /** Settings of a node that keeps a log in a directory of its own. */
  async function onDisk(env: Record<string, string> = {}): Promise<{ env: Record<string, string> }> {
    const directory = await mkdtemp(join(tmpdir(), 'atoll-node-'));
    directories.push(directory);
    return { env: { STORAGE_NODE_DATA_DIR: directory, ...env } };
  }

  describe('EnsureReplicas', () => {
    it('makes replicas once, and refuses an earlier coordinator (R1, R11)', async () => {
      const a = await world.start('a');
      const spec = await world.createKeyspace({ partitionCount: 4 }, [a]);
      const first = await world.ensure(a, spec, [0, 1], 20);
      expect(await world.ensure(a, spec, [0, 1], 20)).toEqual(first);
      const stale = await failureOf(world.ensure(a, spec, [0], 19));
      expect(stale.reason).toBe('STALE_FENCING_TOKEN');
      expect(await a.held()).toHaveLength(4);
    });

    it('refuses an unknown keyspace, a partition outside, and durability without a disk, and makes nothing', async () => {
      const a = await world.start('a');
      const spec = await world.createKeyspace({ partitionCount: 2 }, [a]);
      expect((await failureOf(world.ensure(a, { name: 'default', id: 'another' }))).metadata).toMatchObject({ field: 'keyspace_id' });
      expect((await failureOf(world.ensure(a, { name: 'nowhere', id: 'x' }))).reason).toBe('INVALID_ARGUMENT');
      const refused = await failureOf(world.createKeyspace({ name: 'durable', durability: 'SYNC' }, [a]));
      expect(refused.reason).toBe('INVALID_ARGUMENT');
      expect(refused.message).toContain('STORAGE_NODE_DATA_DIR');
      expect((await failureOf(world.ensure(a, spec, [1, 2]))).metadata).toMatchObject({ field: 'partitions' });
      expect(await a.held('durable')).toEqual([]);
      expect(await a.held()).toHaveLength(2);
    });
  });

  it('serves nothing before it has read its records (R12), and all when etcd comes', async () => {
    const a = await world.launch('a', { isEtcdAway: true });
    expect(a.node.readiness()).toEqual({ ready: false, reasons: ['waiting for etcd'] });
    for (const call of [a.get('k'), a.set('k', 'v'), a.held(), a.digest()]) expect((await failureOf(call)).reason).toBe('METADATA_UNAVAILABLE');
    a.store.comeBack();
    await eventually('ready', () => a.node.readiness().ready);
    await world.createKeyspace({}, [a]);
    expect((await a.set('k', 'v')).applied).toBe(true);
    expect((await failureOf(a.digest('default', 7))).reason).toBe('REPLICA_UNKNOWN');
  });

  it('tells others an HTTP address that they reach, also where it listens on every interface, as in a container', async () => {
    const a = await world.start('a', { env: { ATOLL_LISTEN: '0.0.0.0:0', ATOLL_ADVERTISE: '127.0.0.1:0', ATOLL_HTTP_LISTEN: '0.0.0.0:0' } });
    expect(world.etcd.get(nodeKey('a'))?.value).toContain(`"httpAddress":"127.0.0.1:${a.node.httpAddress!.port}"`);
  });

  it('gives memory back when a keyspace is deleted, and keeps nothing of it for one of the same name', async () => {
    const a = await world.start('a');
    await world.createKeyspace({ partitionCount: 2 }, [a]);
    await a.set('k', 'v'.repeat(100_000));
    expect(await a.metric('atoll_memory_used_bytes')).toBeGreaterThan(100_000);
    world.etcd.transact([], [{ kind: 'delete', key: keyspaceKey('default') }, ...[0, 1].map((partition) => ({ kind: 'delete' as const, key: partitionKey('default', partition) }))]);
    await eventually('dropped', async () => (await a.held()).length === 0);
    await eventually('the memory is given back', async () => (await a.metric('atoll_memory_used_bytes')) === 0);
    expect((await failureOf(a.get('k'))).reason).toBe('KEYSPACE_NOT_FOUND');
    await world.createKeyspace({ partitionCount: 1 }, [a]);
    expect(await a.text('k')).toBeUndefined();
  });

  it('drops no replica of a keyspace made again because news of the deleted one come late', async () => {
    const a = await world.start('a');
    await world.createKeyspace({}, [a]);
    a.store.goAway();
    world.etcd.transact([], [{ kind: 'delete', key: keyspaceKey('default') }, { kind: 'delete', key: partitionKey('default', 0) }]);
    a.store.comeBack();
    const spec = await world.createKeyspace({}, [a]);
    const { member } = await world.ensure(a, spec);
    await a.set('k', 'v');
    expect((await a.held()).map(({ replicaId }) => replicaId)).toEqual([member.replica]);
  });

  it('a restarted process leads nothing by its old term (R2); NONE comes back empty under other ids (R1)', async () => {
    const a = await world.start('a');
    const spec = await world.createKeyspace({}, [a]);
    await a.set('k', 'v');
    const [before] = await a.held();
    await a.stop(100);
    const again = await world.start('a');
    expect(await again.held()).toEqual([]);
    const { member } = await world.ensure(again, spec);
    expect(member.replica).not.toBe(before!.replicaId);
    expect((await failureOf(again.get('k'))).reason).toBe('NOT_LEADER');
  });

  it('a restarted SYNC node keeps ids and data, and catches up from the log (R25)', async () => {
    const [aDisk, bDisk] = [await onDisk(), await onDisk()];
    const [a, b] = [await world.start('a', aDisk), await world.start('b', bDisk)];
    await world.createKeyspace({ durability: 'SYNC' }, [a, b]);
    for (let index = 0; index < 20; index += 1) await a.set(`k${index}`, `v${index}`);
    const [held] = await b.held();
    await b.stop(100);
    await a.set('while-away', 'v');
    await world.inSync(['a']);
    const again = await world.start('b', bDisk);
    await world.inSync(['a', 'b']);
    expect((await again.held())[0]!.replicaId).toBe(held!.replicaId);
    expect(await world.equalDigests([a, again])).toBe(21);
    expect(await again.metric('atoll_installs_total')).toBe(0);
    // The whole cluster: both stop, both come back, a new term begins.
    await a.stop(100);
    await again.stop(100);
    const [a2, b2] = [await world.start('a', aDisk), await world.start('b', bDisk)];
    expect((await failureOf(a2.get('k1'))).reason).toBe('NOT_LEADER');
    await world.promote(a2, { dropped: [] });
    await world.serving(a2);
    await world.inSync(['a', 'b']);
    expect(await a2.text('k7')).toBe('v7');
    expect(await world.equalDigests([a2, b2])).toBe(21);
  });

  it('cuts a divergent log back when a new term has another history (R28)', async () => {
    const gate = await world.gate();
    const aDisk = await onDisk();
    const [a, b] = [await world.start('a', { ...aDisk, gate }), await world.start('b', await onDisk())];
    await world.createKeyspace({ durability: 'SYNC' }, [a, b]);
    await a.set('k', 'v0');
    await world.equalDigests([a, b]);
    // It can remove nobody.
    a.store.goAway();
    gate.close();
    const doubtful = ['k', 'x', 'y'].map((key) => failureOf(a.set(key, 'never committed', { ack: Ack.ACK_IN_SYNC })));
    await eventually('three entries wait', async () => (await a.metric('atoll_uncommitted_writes', 'keyspace="default"')) === 3);
    await world.promote(b, { dropped: ['a'] });
    a.store.comeBack();
    for (const error of await Promise.all(doubtful)) expect(error.reason).toBe('WRITE_IN_DOUBT');
    await world.serving(b);
    await b.set('k', 'v1');
    gate.open();
    await world.inSync(['a', 'b']);
    expect(await world.equalDigests([a, b])).toBe(1);
    expect(await a.metric('atoll_installs_total')).toBe(0);
    // Its disk has the same history.
    const [before] = await a.held();
    await a.stop(100);
    const again = await world.start('a', aDisk);
    await world.inSync(['a', 'b']);
    expect((await again.held())[0]!.replicaId).toBe(before!.replicaId);
    expect(await world.equalDigests([again, b])).toBe(1);
  });

  it('a full sync of a SYNC replica counts when it is on disk, and survives a restart (R33)', async () => {
    const a = await world.start('a', await onDisk());
    const bDisk = await onDisk();
    const b = await world.start('b', bDisk);
    const spec = await world.createKeyspace({ durability: 'SYNC' }, [a]);
    for (let index = 0; index < 50; index += 1) await a.set(`k${index}`, 'v'.repeat(1000));
    const member = await world.addLearner(b, spec);
    await world.inSync(['a', 'b']);
    expect((await b.held())[0]!.installed).toBe(true);
    await b.stop(100);
    const again = await world.start('b', bDisk);
    expect((await again.held())[0]!).toMatchObject({ replicaId: member.replica, entries: 50 });
    await world.inSync(['a', 'b']);
    await world.equalDigests([a, again]);
  });

  describe('stop', () => {
    it('hands its leaderships over: takes no office again, and waits for the successor within bounds', async () => {
      const [a, b] = [await world.start('a'), await world.start('b')];
      await world.createKeyspace({}, [a, b]);
      await a.set('k', 'v');
      const successor = (async () => {
        await eventually('a says that it stops', () => world.etcd.get('nodes/a')?.value.includes('STOPPING'));
        // A change of the record that still names it, as any write of the coordinator may.
        world.change(() => ({}));
        await world.promote(b);
        await world.serving(b);
        return b.text('k');
      })();
      const stoppedIn = performance.now();
      await a.stop(9000);
      expect(performance.now() - stoppedIn).toBeLessThan(9000);
      expect(await successor).toBe('v');
      expect(world.etcd.get('nodes/a')).toBeUndefined();
      await world.inSync(['b']);
      await b.set('k', 'v2');
    });

    it('leaves the in-sync sets of others at once: writes there do not wait for it', async () => {
      const patient = { env: { STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS: '60000', STORAGE_NODE_LEASE_MS: '61000' } };
      const [a, b] = [await world.start('a', patient), await world.start('b', patient)];
      await world.createKeyspace({}, [a, b]);
      await a.set('k', 'v');
      await b.stop(2000);
      expect((await a.set('k', 'v2')).applied).toBe(true);
      await world.inSync(['a']);
    });

    it('waits on for its successor when it loses sight of etcd for a moment (R29)', async () => {
      const [a, b] = [await world.start('a'), await world.start('b')];
      await world.createKeyspace({}, [a, b]);
      await a.set('k', 'v');
      const stopped = a.stop(9000);
      await eventually('a says that it stops', () => world.etcd.get('nodes/a')?.value.includes('STOPPING'));
      a.store.goAway();
      await pause(100); // The fault itself.
      a.store.comeBack();
      // Had it given its office up it would be idle.
      expect(a.node.parts()?.host.replica('default', 0)?.replica.leader).toBeDefined();
      await world.promote(b);
      await world.serving(b);
      await stopped;
      expect(await b.text('k')).toBe('v');
    });

    it('waits for no successor when no coordinator is elected that could name one', async () => {
      const [a, b] = [await world.start('a'), await world.start('b')];
      await world.createKeyspace({}, [a, b]);
      world.resign();
      const startedAt = performance.now();
      await a.stop(9000);
      // A hand-over is waited for 5 s.
      expect(performance.now() - startedAt).toBeLessThan(5000);
    });

    it('ends in time while etcd is away and nobody takes over', async () => {
      const [a, b] = [await world.start('a'), await world.start('b')];
      await world.createKeyspace({}, [a, b]);
      a.store.goAway();
      const startedAt = performance.now();
      await a.stop(1500);
      expect(performance.now() - startedAt).toBeLessThan(8000);
    });

    it('ends a node that waits for etcd', async () => {
      const a = await world.launch('a', { isEtcdAway: true });
      await a.stop(1000);
      expect(a.node.readiness().reasons).toEqual(['waiting for etcd']);
    });
  });

  it('tells the second process of one id that the id is taken (R5)', async () => {
    const a = await world.start('a');
    const second = await world.launch('a');
    await expect(second.node.failed).rejects.toMatchObject({ reason: 'NODE_ID_TAKEN' });
    await second.stop(500);
    expect(a.node.readiness().ready).toBe(true);
    expect(world.etcd.get('nodes/a')).toBeDefined();
  });

  it('refuses to join another cluster than the one asked for', async () => {
    await world.start('a');
    const b = await world.launch('b', { env: { ATOLL_CLUSTER_ID: 'another' } });
    await expect(b.node.failed).rejects.toThrow(/another/);
  });
});

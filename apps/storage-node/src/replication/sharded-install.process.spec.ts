import { DeleteRequest } from '@atoll/contracts/atoll/v1/cache';
import type { AtollError } from '@atoll/core-errors';
import { KIB } from '@atoll/core-runtime';
import type { FetchSnapshotRequest } from '@atoll/contracts/atoll/v1/transfer';
import { eventually } from '@atoll/platform-etcd/testing';
import { callServerStream, callUnary } from '@atoll/platform-grpc';
import { DEADLINE, NodeWorld, failureOf, type WorldNode } from '../testing/node-world.ts';
import type { TcpGate } from '../testing/tcp-gate.ts';
import { SHARD_STREAMS_MAX } from './sharded-installs.ts';

const SEED = 20_261_121;
const VALUE = Buffer.alloc(16 * KIB, 'v');
const COUNT = 160;
const SLOW = { STORAGE_NODE_SYNC_BYTES_PER_SECOND: String(512 * KIB), STORAGE_NODE_SYNC_MAX_IMPACT: '0' };

describe(`full syncs that are split (R33; seed ${SEED})`, () => {
  let world: NodeWorld;

  beforeEach(() => {
    world = new NodeWorld(SEED);
  });

  afterEach(() => world.stop());

  /** A busy machine may make a lease lapse, and a log that is pinned slows writers down: plain failures, so the write is sent again (R20, R33). */
  const written = (write: () => Promise<unknown>): Promise<unknown> =>
    eventually('it is written', () =>
      write().then(
        () => true,
        (error: AtollError) => (['PARTITION_UNAVAILABLE', 'OVERLOADED'].includes(error.reason) ? false : Promise.reject(error)),
      ),
    );

  /** a leads, b is in sync, c is to be filled; the gate is b's. */
  async function filled(env: Record<string, string> = {}) {
    const gate: TcpGate = await world.gate();
    const [a, b, c] = [await world.start('a', { env }), await world.start('b', { env, gate }), await world.start('c', { env })];
    const spec = await world.createKeyspace({ replicationFactor: 3 }, [a, b]);
    await Promise.all(Array.from({ length: COUNT }, (_, index) => written(() => a.set(`key-${index}`, VALUE))));
    await world.inSync(['a', 'b']);
    return { a, b, c, gate, spec };
  }

  const sent = (node: WorldNode): Promise<number> => node.metric('atoll_sync_sent_bytes_total');
  const streams = (node: WorldNode): Promise<number> => node.metric('atoll_syncs_running');
  const received = async (node: WorldNode): Promise<number> => (await node.transfers()).replicas[0]?.bytes ?? 0;
  const remove = (node: WorldNode, key: string): Promise<unknown> => written(() => callUnary(node.cache, 'delete', DeleteRequest.fromPartial({ key: Buffer.from(key) }), DEADLINE));

  it('come from the leader and from the other replica in sync, each entry once', async () => {
    const { a, b, c, spec } = await filled();
    await c.shardTransfers(4);
    await world.addLearner(c, spec);
    await world.inSync(['a', 'b', 'c']);
    expect(await world.equalDigests([a, b, c])).toBe(COUNT);
    const [byLeader, byOther] = [await sent(a), await sent(b)];
    expect(byLeader).toBeGreaterThan(COUNT * KIB);
    expect(byOther).toBeGreaterThan(COUNT * KIB);
    expect((await c.transfers()).replicas[0]).toMatchObject({ bytes: byLeader + byOther, entries: COUNT, progress: 1, installed: true });
  });

  it('one that is under way in one stream goes on in several when that is said; what is deleted meanwhile stays so (I7)', async () => {
    const { a, b, c, spec } = await filled(SLOW);
    await world.addLearner(c, spec);
    await eventually('it has begun', async () => (await received(c)) > 0);
    expect([await streams(a), await streams(b)]).toEqual([1, 0]);
    await c.shardTransfers(4);
    await eventually('two streams of each', async () => (await streams(a)) === 2 && (await streams(b)) === 2);
    for (let index = 0; index < COUNT; index += 2) await remove(a, `key-${index}`);
    await world.inSync(['a', 'b', 'c']);
    expect(await world.equalDigests([a, b, c])).toBe(COUNT / 2);
  });

  it('a stream that breaks goes on at the leader where it stood, beside the others', async () => {
    const { a, b, c, gate, spec } = await filled(SLOW);
    await c.shardTransfers(4);
    await world.addLearner(c, spec);
    await eventually('b has sent something', async () => (await sent(b)) > 0);
    gate.close();
    await eventually('all four come from a', async () => (await streams(a)) === 4);
    gate.open();
    for (const node of [a, b]) await node.limitTransfers({ bytesPerSecond: 0 });
    await world.inSync(['a', 'b', 'c']);
    expect(await world.equalDigests([a, b, c])).toBe(COUNT);
    // A chunk of each stream that broke may have come twice.
    expect((await c.transfers()).replicas[0]!.entries).toBeLessThan(COUNT + 3 * 17);
  });

  it('goes on at another leader with what is left', async () => {
    const { a, b, c, spec } = await filled(SLOW);
    await c.shardTransfers(4);
    await world.addLearner(c, spec);
    await eventually('a part of each has come', async () => (await received(c)) > (COUNT * VALUE.length) / 2);
    const before = (await c.transfers()).replicas[0]!;
    await eventually('b is in sync', () => world.record().record.inSync.some(({ node }) => node === 'b'));
    await world.promote(b);
    await world.serving(b);
    await written(() => b.set('later', VALUE));
    await remove(b, 'key-1');
    await world.inSync(['a', 'b', 'c']);
    expect(await world.equalDigests([a, b, c])).toBe(COUNT);
    const after = (await c.transfers()).replicas[0]!;
    expect(after.entries).toBeGreaterThan(before.entries);
    expect(after.entries).toBeLessThan(COUNT + 4 * 17);
  });

  describe('a replica that follows', () => {
    async function asked(changes: Partial<FetchSnapshotRequest>): Promise<string> {
      const { b, c, spec } = await filled();
      const { member } = await world.ensure(c, spec);
      world.change(() => ({ learners: [member] }));
      const { record } = await eventually('b knows of the learner', () => {
        const known = world.record();
        return b.replica().replica.record?.modRevision === known.modRevision && known.record.inSync.length === 3 ? known : undefined;
      });
      const request: FetchSnapshotRequest = { clusterId: await world.clusterId(), keyspace: 'default', partition: 0, replicaId: member.replica, generation: { ...record.generation }, epoch: record.epoch, fromHigh: 0, fromLow: 0, wantsResults: false, logSeq: COUNT, sharded: true };
      const stream = callServerStream(b.transfer, 'fetchSnapshot', { ...request, ...changes }, {});
      return stream.next().then(({ value }) => `${value!.rows.length > 0}`, (error: { reason: string }) => error.reason);
    }

    it.each<[string, Partial<FetchSnapshotRequest>, string]>([
      ['sends one of several sub-ranges', {}, 'true'],
      ['sends no whole one', { sharded: false }, 'NOT_LEADER'],
      ['sends nothing that is older than the log that the receiver has beside it', { logSeq: 1_000_000 }, 'NOT_LEADER'],
      ['sends nothing of an epoch that is over', { epoch: 0 }, 'STALE_EPOCH'],
      ['sends nothing of another lineage', { generation: { counter: 1, id: 'other' } }, 'STALE_GENERATION'],
      ['sends nothing to one that nobody knows', { replicaId: 'nobody' }, 'REPLICA_UNKNOWN'],
    ])('%s', async (_, changes, expected) => {
      expect(await asked(changes)).toBe(expected);
    });
  });

  it('are bounded in their streams: one more is told to come again (I10)', async () => {
    const { a, b } = await filled({ ...SLOW, STORAGE_NODE_SYNCS_MAX: '1' });
    const { record } = world.record();
    const replicaId = record.inSync.find(({ node }) => node === b.id)!.replica;
    const request: FetchSnapshotRequest = { clusterId: await world.clusterId(), keyspace: 'default', partition: 0, replicaId, generation: { ...record.generation }, epoch: record.epoch, fromHigh: 0, fromLow: 0, wantsResults: false, logSeq: 1_000, sharded: true };
    const stop = new AbortController();
    const open = Array.from({ length: SHARD_STREAMS_MAX }, () => callServerStream(a.transfer, 'fetchSnapshot', request, { signal: stop.signal }));
    for (const stream of open) expect((await stream.next()).done).toBe(false);
    expect((await failureOf(callServerStream(a.transfer, 'fetchSnapshot', request, {}).next())).reason).toBe('OVERLOADED');
    // Those that are not split have places of their own.
    expect((await callServerStream(a.transfer, 'fetchSnapshot', { ...request, sharded: false }, { signal: stop.signal }).next()).done).toBe(false);
    stop.abort();
    await eventually('the places are free', async () => (await streams(a)) === 0);
  });

  it.each([
    ['transfers.shards', { transfers: [{ keyspace: 'default', partition: 0, shards: 1 }] }],
    ['transfers.shards', { transfers: [{ keyspace: 'default', partition: 0, shards: 17 }] }],
    ['transfers', { transfers: Array.from({ length: 4097 }, (_, partition) => ({ keyspace: 'default', partition, shards: 2 })) }],
    ['valid_ms', { validMs: 999 }],
  ])('refuses bad %s', async (field, changes) => {
    const a = await world.start('a');
    const refused = await failureOf(a.shardTransfers(2, changes));
    expect([refused.reason, refused.metadata['field']]).toEqual(['INVALID_ARGUMENT', field]);
  });

  it('obeys no earlier coordinator (R11)', async () => {
    const a = await world.start('a');
    await a.shardTransfers(2, { coordinatorRevision: 12 });
    expect((await failureOf(a.shardTransfers(2, { coordinatorRevision: 11 }))).reason).toBe('STALE_FENCING_TOKEN');
  });

  it('tells for how much of its time a node is busy', async () => {
    const { a } = await filled();
    const { load } = await a.transfers();
    expect(load).toBeGreaterThanOrEqual(0);
    expect(load).toBeLessThanOrEqual(1);
    await eventually('it has been looked at', async () => (await a.transfers()).load > 0);
  });
});

import { eventually } from '@atoll/platform-etcd/testing';
import { TransferClient } from '@atoll/contracts/atoll/v1/transfer';
import { credentials } from '@grpc/grpc-js';
import { toEpoch, toNodeId, toReplicaId } from '@atoll/core-runtime';
import { formatAddress } from '@atoll/platform-config';
import { callServerStream } from '@atoll/platform-grpc';
import { RawFollower, emptyFollowRequest } from '../testing/raw-follower.ts';
import { RawGranter } from '../testing/raw-granter.ts';
import { NodeWorld, failureOf, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_005;
const ghost = { node: toNodeId('ghost'), replica: toReplicaId('00000000000000ff') };

describe(`what a leader bears of those who follow it (seed ${SEED})`, () => {
  let world: NodeWorld;
  let a: WorldNode;
  let clusterId: string;

  beforeAll(async () => {
    world = new NodeWorld(SEED);
    a = await world.start('a');
    await world.createKeyspace({}, [a]);
    clusterId = await world.clusterId();
  });

  afterEach(async () => {
    world.change((record) => ({ inSync: record.inSync.filter(({ node }) => node === 'a'), learners: [] }));
    await eventually('no stream is open', async () => (await a.openStreams('Replication/Follow')) === 0);
  });

  afterAll(() => world.stop());

  it('no hello, another cluster, or a second hello end the stream', async () => {
    const silent = new RawFollower(a);
    silent.subscribe({});
    expect((await silent.ended)?.reason).toBe('INVALID_ARGUMENT');
    const stranger = new RawFollower(a);
    stranger.hello('another', 'ghost');
    expect((await stranger.ended)?.reason).toBe('WRONG_CLUSTER');
    const twice = new RawFollower(a);
    twice.hello(clusterId, 'ghost');
    twice.hello(clusterId, 'ghost');
    expect((await twice.ended)?.reason).toBe('INVALID_ARGUMENT');
  });

  it('nothing that comes behind the end of a stream opens it again', async () => {
    const follower = new RawFollower(a);
    follower.subscribe({});
    for (let count = 0; count < 5; count += 1) follower.hello(clusterId, 'ghost');
    expect((await follower.ended)?.reason).toBe('INVALID_ARGUMENT');
    await eventually('closed', async () => (await a.openStreams('Replication/Follow')) === 0);
  });

  it('a hello without subscriptions is a stream with heartbeats', async () => {
    const follower = new RawFollower(a);
    follower.hello(clusterId, 'ghost');
    await eventually('heartbeats', () => follower.heartbeatCount > 3);
    follower.stream.end();
    expect(await follower.ended).toBeUndefined();
  });

  it('refuses who is not named, or asks for what is not here', async () => {
    const follower = new RawFollower(a);
    follower.hello(clusterId, 'ghost');
    follower.subscribe({ channel: 1, replicaId: ghost.replica });
    follower.subscribe({ channel: 2, keyspace: 'nowhere' });
    follower.subscribe({ channel: 3, partition: 4000 });
    await eventually('three refusals', () => follower.refusals.length === 3);
    expect(follower.refusals).toEqual(['REPLICA_UNKNOWN', 'NOT_LEADER', 'NOT_LEADER']);
    // Of another keyspace that had this name, perhaps: its epoch says nothing here.
    follower.subscribe({ channel: 4, replicaId: ghost.replica, epoch: 99 });
    await eventually('a refusal', () => follower.refusals.length === 4);
    expect((await a.set('k', 'v')).applied).toBe(true);
    follower.close();
  });

  it('leads no more once a replica of the partition spoke of a later epoch (R27)', async () => {
    world.change(() => ({ learners: [ghost] }));
    const follower = new RawFollower(a);
    follower.hello(clusterId, 'ghost');
    await eventually('it stopped', async () => {
      follower.subscribe({ channel: 4, replicaId: ghost.replica, epoch: 9 });
      return a.set('k', 'v').then(() => false, (error: { reason: string }) => error.reason === 'NOT_LEADER');
    });
    follower.close();
    world.change(() => ({ epoch: toEpoch(9) }));
    await world.promote(a);
    await world.serving(a);
    expect((await a.set('k', 'v')).applied).toBe(true);
  });

  it('takes acknowledgements of what was sent only, and an order of another lineage is a full sync', async () => {
    world.change(() => ({ learners: [ghost] }));
    const follower = await RawFollower.open(world, a, ghost);
    await eventually('entries', () => follower.endSeq > 0 || follower.refusals.length > 0);
    follower.stream.write({ ...emptyFollowRequest(), acks: [{ channel: 77, epoch: 1, appendedSeq: 1, appliedSeq: 1, freeBytes: 0, installing: false }], unsubscribe: [78], heartbeat: 4_000_000_000 });
    follower.subscribe({ channel: 2, replicaId: ghost.replica, generation: { counter: 0, id: '' }, installed: false });
    await eventually('an order', () => follower.installCount === 1);
    expect((await a.set('k', 'v')).applied).toBe(true);
    follower.close();
  });

  it('a channel that is used again, and a second stream of the node, replace what was', async () => {
    world.change(() => ({ learners: [ghost] }));
    const first = await RawFollower.open(world, a, ghost);
    await eventually('entries', () => first.endSeq > 0 || first.refusals.length > 0);
    const { record } = world.record();
    first.subscribe({ replicaId: ghost.replica, generation: { ...record.generation } });
    const second = await RawFollower.open(world, a, ghost);
    expect((await first.ended)?.reason).toBe('CANCELLED');
    await eventually('entries there', () => second.endSeq > 0);
    const before = second.endSeq;
    await a.set('k', 'v2');
    await eventually('the next entry', () => second.endSeq > before);
    second.close();
  });

  it('a member that never acknowledges leaves the in-sync set, and writes go on (R24)', async () => {
    world.change((record) => ({ inSync: [...record.inSync, ghost] }));
    const follower = await RawFollower.open(world, a, ghost);
    const granter = await RawGranter.start(world, 'ghost');
    await eventually('a write', () => a.set('k', 'v3').then(() => true, (error: { reason: string }) => (error.reason === 'PARTITION_UNAVAILABLE' ? false : Promise.reject(error))));
    await world.inSync(['a']);
    expect(world.record().record.learners).toEqual([ghost]);
    follower.close();
    granter.stop();
  });

  it('tells a follower whose replica the record no longer names (R35)', async () => {
    world.change(() => ({ learners: [ghost] }));
    const follower = await RawFollower.open(world, a, ghost);
    await eventually('entries', () => follower.endSeq > 0 || follower.refusals.length > 0);
    const refusedBefore = follower.refusals.length;
    world.change(() => ({ learners: [] }));
    await eventually('a refusal', () => follower.refusals.length > refusedBefore);
    expect(follower.refusals).toHaveLength(refusedBefore + 1);
    follower.close();
  });

  it('gives its snapshot only to those who follow, in its own epoch and lineage', async () => {
    const client = new TransferClient(formatAddress(a.node.address), credentials.createInsecure());
    const request = { clusterId, keyspace: 'default', partition: 0, replicaId: ghost.replica, generation: { ...world.record().record.generation }, epoch: world.record().record.epoch, fromHigh: 0, fromLow: 0, wantsResults: false, logSeq: 0, sharded: false };
    const reasonOf = async (changes: Partial<Omit<typeof request, 'epoch'>> & { epoch?: number }) => (await failureOf(callServerStream(client, 'fetchSnapshot', { ...request, ...changes }, {}).next())).reason;
    expect(await reasonOf({})).toBe('REPLICA_UNKNOWN');
    expect(await reasonOf({ clusterId: 'another' })).toBe('WRONG_CLUSTER');
    expect(await reasonOf({ epoch: 99 })).toBe('STALE_EPOCH');
    expect(await reasonOf({ generation: { counter: 9, id: '' } })).toBe('STALE_GENERATION');
    expect(await reasonOf({ partition: 9 })).toBe('NOT_LEADER');
    client.close();
  });
});

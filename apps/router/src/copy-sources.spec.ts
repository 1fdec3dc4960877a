import { credentials } from '@grpc/grpc-js';
import { CopyClient, CopyService, FollowSourceRequest, FollowSourceResponse } from '@atoll/contracts/atoll/v1/copy';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { KIB, MIB } from '@atoll/core-runtime';
import { formatAddress } from '@atoll/platform-config';
import { eventually } from '@atoll/platform-etcd/testing';
import { callServerStream, callUnary, createChannelOptions, readEncodedStream, toServiceError } from '@atoll/platform-grpc';
import { RouterWorld, type WorldOptions } from './testing/router-world.ts';
import type { ScriptedNode } from './testing/scripted-node.ts';

const DEADLINE = { deadlineMs: 5000 };
let world: RouterWorld;
let client: CopyClient;
const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  client.close();
  await world.stop();
});

const startWorld = async (options: WorldOptions = { env: { ROUTER_COPY_SOURCES: 'on' } }): Promise<void> => {
  world = await RouterWorld.start(options);
  client = new CopyClient(formatAddress(world.router.address), credentials.createInsecure(), createChannelOptions());
};
const asked = (fields: Partial<FollowSourceRequest> = {}): FollowSourceRequest => FollowSourceRequest.create({ clusterId: 'test-cluster', keyspace: 'default', keyspaceId: 'ks1', partition: 0, targetPartition: 0, targetPartitionCount: 1, ...fields });
const message = (seq: number, bytes = 10): FollowSourceResponse => FollowSourceResponse.create({ changes: [{ key: Buffer.from('k'), value: Buffer.alloc(bytes, seq), expiresAtMs: 0 }], origin: { generation: 1, epoch: 1, seq } });

/** Another cluster's stream through the router. */
function follow(fields: Partial<FollowSourceRequest> = {}) {
  const abort = new AbortController();
  const follower = { seqs: [] as number[], failure: undefined as AtollError | undefined, leave: () => abort.abort() };
  const done = (async () => {
    try {
      for await (const { origin } of callServerStream(client, 'followSource', asked(fields), { signal: abort.signal })) follower.seqs.push(origin?.seq ?? 0);
    } catch (error) {
      if (!abort.signal.aborted && isAtollError(error)) follower.failure = error;
    }
  })();
  closers.push(async () => {
    abort.abort();
    await done;
  });
  return follower;
}
const opened = (node: ScriptedNode) => eventually('a stream at the node', () => node.openFollows.at(-1));
const reasonOf = (follower: { readonly failure: AtollError | undefined }) => eventually('it ends', () => follower.failure?.reason);

describe('copies by other clusters through a router (R37)', () => {
  it('are not offered unless it is said so: ROUTER_COPY_SOURCES', async () => {
    await startWorld({});
    await expect(callUnary(client, 'describeSource', { keyspace: '' }, DEADLINE)).rejects.toMatchObject({ reason: 'COPY_NOT_OFFERED' });
    expect(await reasonOf(follow())).toBe('COPY_NOT_OFFERED');
    await expect(callUnary(client, 'listSources', {}, DEADLINE)).rejects.toMatchObject({ reason: 'COPY_NOT_OFFERED' });
    expect(world.node(0).follows).toEqual([]);
  });

  it('names the keyspaces that there are', async () => {
    await startWorld();
    expect(await callUnary(client, 'listSources', {}, DEADLINE)).toEqual({ clusterId: 'test-cluster', keyspaces: ['default'] });
  });

  it('tells the cluster, the id and the settings of a keyspace', async () => {
    await startWorld({ env: { ROUTER_COPY_SOURCES: 'on' }, keyspace: { defaultTtlMs: 5000, replicationFactor: 3 } });
    const told = await callUnary(client, 'describeSource', { keyspace: '' }, DEADLINE);
    expect(told).toMatchObject({ clusterId: 'test-cluster', keyspaceId: 'ks1', keyspace: { name: 'default', partitionCount: 4, replicationFactor: 3, minInSync: 2, defaultTtlMs: 5000 } });
    await expect(callUnary(client, 'describeSource', { keyspace: 'other' }, DEADLINE)).rejects.toMatchObject({ reason: 'KEYSPACE_NOT_FOUND', metadata: { field: 'keyspace' } });
  });

  it('tells what partitions take, as their leaders say; of one that does not answer nothing is told', async () => {
    await startWorld();
    await world.lead(1, 1);
    await eventually('the router knows', () => world.epochOf(1) === 2);
    const sized = (partition: number) => ({ partition, bytes: 100 + partition, entries: partition, generation: 1 });
    world.node(0).sourcePartitions = [3, 0, 2].map(sized);
    world.node(1).sourcePartitions = [sized(1)];
    const told = async () => (await callUnary(client, 'describeSource', { keyspace: '' }, DEADLINE)).partitions;
    expect(await told()).toEqual([0, 1, 2, 3].map(sized));
    world.node(1).stop();
    expect(await told()).toEqual([0, 2, 3].map(sized));
  });

  it('asks the coordinator to hold keyspaces still where it is offered, and no stranger: ROUTER_COPY_CUT_OVERS', async () => {
    await startWorld();
    const hold = (clusterId: string) => callUnary(client, 'holdSource', { clusterId, keyspace: 'default', keyspaceId: 'ks1', toClusterId: 'far', toKeyspace: 'wide', maxPauseMs: 500, traceparent: '' }, DEADLINE);
    await expect(hold('test-cluster')).rejects.toMatchObject({ reason: 'COPY_NOT_OFFERED', message: expect.stringContaining('ROUTER_COPY_CUT_OVERS is off') });
    client.close();
    await world.stop();
    await startWorld({ env: { ROUTER_COPY_SOURCES: 'on', ROUTER_COPY_CUT_OVERS: 'on' } });
    await expect(hold('other')).rejects.toMatchObject({ reason: 'WRONG_CLUSTER' });
    await expect(callUnary(client, 'settleHold', { clusterId: 'test-cluster', keyspace: 'default', keyspaceId: 'ks1', hold: 'h', move: false }, DEADLINE)).rejects.toMatchObject({ reason: 'NOT_COORDINATOR' });
    await expect(callUnary(client, 'fenceSource', { clusterId: 'other', keyspace: 'default', keyspaceId: 'ks1', toClusterId: 'far', toKeyspace: 'default' }, DEADLINE)).rejects.toMatchObject({ reason: 'WRONG_CLUSTER' });
  });

  it('passes on what the leader of the partition says, and its failures', async () => {
    await startWorld();
    await world.lead(1, 1);
    await eventually('the router knows', () => world.epochOf(1) === 2);
    const follower = follow({ partition: 1, origin: { generation: 1, epoch: 1, seq: 7 } });
    const { request, call } = await opened(world.node(1));
    expect(request).toMatchObject({ clusterId: 'test-cluster', keyspaceId: 'ks1', partition: 1, origin: { seq: 7 } });
    call.write(message(8));
    call.write(message(9));
    await eventually('both come', () => follower.seqs.length === 2);
    expect(follower.seqs).toEqual([8, 9]);
    call.emit('error', toServiceError(new AtollError('REPLICA_NOT_READY', 'is taking office')));
    expect(await reasonOf(follower)).toBe('REPLICA_NOT_READY');
  });

  it('ends a stream when its partition changes hands, and when its keyspace is made again, so that the reader goes on elsewhere', async () => {
    await startWorld();
    const follower = follow();
    await opened(world.node(0));
    await world.lead(0, 1);
    expect(await reasonOf(follower)).toBe('NOT_LEADER');
    await eventually('the node is left', () => world.node(0).openFollows.length === 0);
    const next = follow();
    (await opened(world.node(1))).call.write(message(3));
    await eventually('it goes on', () => next.seqs.length === 1);
    await world.putKeyspace({ ...world.keyspace, id: 'ks2' });
    expect(await reasonOf(next)).toBe('KEYSPACE_NOT_FOUND');
    await world.lead(1, undefined);
    expect(await reasonOf(follow({ keyspaceId: 'ks2', partition: 1 }))).toBe('PARTITION_UNAVAILABLE');
  });

  it.each<{ title: string; fields: Partial<FollowSourceRequest>; reason: string }>([
    { title: 'another cluster', fields: { clusterId: 'other' }, reason: 'WRONG_CLUSTER' },
    { title: 'a keyspace that is not there', fields: { keyspace: 'other' }, reason: 'KEYSPACE_NOT_FOUND' },
    { title: 'a keyspace that was made again', fields: { keyspaceId: 'ks0' }, reason: 'KEYSPACE_NOT_FOUND' },
    { title: 'a partition that is not there', fields: { partition: 4 }, reason: 'INVALID_ARGUMENT' },
  ])('refuses $title: $reason, and asks no node', async ({ fields, reason }) => {
    await startWorld();
    expect(await reasonOf(follow(fields))).toBe(reason);
    expect(world.node(0).follows).toEqual([]);
  });

  it('serves as many streams as it may, and another one when one is left (I10)', async () => {
    await startWorld({ env: { ROUTER_COPY_SOURCES: 'on', ROUTER_COPY_STREAMS_MAX: '1' } });
    const first = follow();
    await opened(world.node(0));
    expect(await reasonOf(follow())).toBe('OVERLOADED');
    first.leave();
    await eventually('the node is left', () => world.node(0).openFollows.length === 0);
    await eventually('there is room', () => {
      follow();
      return world.node(0).openFollows.length === 1;
    });
  });

  it('reads no faster from the node than the other cluster takes: a reader that stands still costs its window and a message (I10)', async () => {
    await startWorld();
    const reader = readEncodedStream(client, CopyService.followSource, asked(), { signal: new AbortController().signal });
    const first = reader.next();
    const node = await opened(world.node(0));
    const COUNT = 400;
    let takenBytes = 0;
    const write = (seq: number): void => {
      if (seq > COUNT) return;
      node.call.write(message(seq, 256 * KIB), () => {
        takenBytes += 256 * KIB;
        write(seq + 1);
      });
    };
    write(1);
    await first;
    // Nobody asks for a second message: it comes to rest far below the 100 MiB that there are.
    let before = -1;
    await eventually('nothing more is taken', async () => {
      const isStill = takenBytes === before;
      before = takenBytes;
      for (let turn = 0; turn < 500; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      return isStill;
    });
    expect(takenBytes).toBeLessThan(4 * MIB);
    for (let seq = 2; seq <= COUNT; seq += 1) {
      const { value } = await reader.next();
      expect(FollowSourceResponse.decode(value!).origin).toEqual({ generation: 1, epoch: 1, seq });
    }
    await reader.return();
  });
});

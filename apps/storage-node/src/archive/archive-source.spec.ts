import { credentials } from '@grpc/grpc-js';
import { ArchiveClient, type MergeEntriesRequest, type ReadPartitionRequest, type ReadPartitionResponse } from '@atoll/contracts/atoll/v1/archive';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { decodeEntry, entryBytesAt } from '@atoll/core-replication';
import { decodeRows, encodeRows, type RowSource } from '@atoll/core-store';
import { formatAddress } from '@atoll/platform-config';
import { eventually } from '@atoll/platform-etcd/testing';
import { callServerStream, callUnary } from '@atoll/platform-grpc';
import { fromMergeOutcomeByte } from '@atoll/platform-wire';
import { DEADLINE, NodeWorld, failureOf, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_122;

describe(`what nodes do for backups (R39) (seed ${SEED})`, () => {
  let world: NodeWorld;
  let [a, b]: WorldNode[] = [];
  let spec: KeyspaceSpec;
  let clusterId: string;
  const clients: ArchiveClient[] = [];
  beforeEach(async () => {
    world = new NodeWorld(SEED);
    [a, b] = [await world.start('a'), await world.start('b')];
    spec = await world.createKeyspace({ partitionCount: 1, replicationFactor: 2 }, [a, b]);
    clusterId = await world.clusterId();
    for (let index = 0; index < 150; index += 1) await a.set(`key-${index}`, `value-${index}`);
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    await world.stop();
  });

  const archiveOf = ({ node }: WorldNode): ArchiveClient => {
    const client = new ArchiveClient(formatAddress(node.address), credentials.createInsecure());
    clients.push(client);
    return client;
  };
  const partition = (): { keyspace: string; keyspaceId: string; partition: number } => ({ keyspace: spec.name, keyspaceId: spec.id, partition: 0 });
  const read = async (node: WorldNode, request: Partial<ReadPartitionRequest> = {}): Promise<ReadPartitionResponse[]> => {
    const messages: ReadPartitionResponse[] = [];
    for await (const message of callServerStream(archiveOf(node), 'readPartition', { clusterId, partition: partition(), place: undefined, upTo: undefined, ...request }, DEADLINE)) messages.push(message);
    return messages;
  };

  it('a cut: writes wait from the marker to the release; a follower gives rows, then log up to the marker, and what it held there', async () => {
    await eventually('the follower has all', () => b!.replica().replica.state.store.entryCount === 150);
    const rows = await read(b!);
    const place = rows.at(-1)!.place;
    expect(rows.flatMap((message) => decodeRows(message.rows))).toHaveLength(150);
    expect(rows.at(-1)).toMatchObject({ end: true, place: { nextHigh: undefined }, digest: undefined });
    await a!.set('key-0', 'changed');
    const leader = archiveOf(a!);
    const { partitions } = await callUnary(leader, 'holdBarrier', { clusterId, barrier: 'x', holdMs: 5000, partitions: [partition(), { ...partition(), partition: 9 }] }, DEADLINE);
    expect(partitions).toMatchObject([{ marker: { epoch: 1 }, problem: '' }, { marker: undefined, problem: 'it is not led here' }]);
    let isWritten = false;
    const write = a!.set('key-1', 'behind').then(() => (isWritten = true));
    await a!.get('key-2');
    expect(isWritten).toBe(false);
    expect(await callUnary(leader, 'releaseBarrier', { clusterId, barrier: 'x', partitions: [partition()] }, DEADLINE)).toEqual({ problems: [''] });
    await write;
    const log = await read(b!, { place, upTo: partitions[0]!.marker });
    const operations = log.flatMap(({ log: bytes }) => entriesOf(bytes));
    expect(operations).toEqual(['put key-0', 'marker']);
    expect(log.at(-1)).toMatchObject({ end: true, place: { position: partitions[0]!.marker }, digest: { entries: 150 } });
    const again = await read(a!, { place, upTo: partitions[0]!.marker });
    expect(again.at(-1)!.digest).toEqual(log.at(-1)!.digest);
  });

  it('a hold that nobody releases ends by itself, and did not stand', async () => {
    const leader = archiveOf(a!);
    await callUnary(leader, 'holdBarrier', { clusterId, barrier: 'x', holdMs: 20, partitions: [partition()] }, DEADLINE);
    await a!.set('key-0', 'later');
    expect((await callUnary(leader, 'releaseBarrier', { clusterId, barrier: 'x', partitions: [partition()] }, DEADLINE)).problems[0]).toMatch('writes have gone on');
  });

  const row = (key: string, value: string, version: Partial<RowSource['version']> = {}, expiresAtMs = 0): RowSource => ({ key: Buffer.from(key), value: Buffer.from(value), expiresAtMs, version: { generation: 1, epoch: 1, seq: 1, ...version } });
  const merge = async (rows: readonly RowSource[], fields: Partial<MergeEntriesRequest> = {}, node = a!): Promise<unknown[]> => {
    const request = { clusterId, partition: partition(), rows: encodeRows(rows), generation: { counter: 1, id: 'g1' }, fencingToken: 10, dryRun: false, ...fields };
    const { outcomes, reason } = await callUnary(archiveOf(node), 'mergeEntries', request, DEADLINE);
    return [...[...outcomes].map((byte) => fromMergeOutcomeByte(byte)), ...(reason === '' ? [] : [reason])];
  };

  it('entries of an archive: the leader writes what is lacking or older, with its expiry, and leaves what is newer; a follower has them too', async () => {
    const farMs = Date.now() + 3_600_000;
    const rows = [row('key-0', 'older'), row('key-1', 'newer', { seq: 10_000 }), row('key-2', 'value-2'), row('lacking', 'x', {}, farMs), row('late', 'x', {}, Date.now() - 1)];
    expect(await merge(rows, { dryRun: true })).toEqual(['kept', 'written', 'same', 'written', 'expired']);
    expect(await a!.text('lacking')).toBeUndefined();
    expect(await merge(rows)).toEqual(['kept', 'written', 'same', 'written', 'expired']);
    expect([await a!.text('key-0'), await a!.text('key-1'), await a!.text('late')]).toEqual(['value-0', 'newer', undefined]);
    expect((await a!.get('lacking')).expiresAtMs).toBe(farMs);
    await world.equalDigests([a!, b!]);
    // What comes again changes nothing.
    const { seq } = a!.replica().replica.state.log.end;
    expect(await merge(rows)).toEqual(['kept', 'same', 'same', 'same', 'expired']);
    expect(a!.replica().replica.state.log.end.seq).toBe(seq);
  });

  it('entries of an archive of other data: versions say nothing, and whatever is there stays (R3)', async () => {
    const newer = [row('key-0', 'other', { generation: 9 }), row('lacking', 'x')];
    expect(await merge(newer, { generation: undefined })).toEqual(['kept', 'written']);
    expect(await merge(newer, { generation: { counter: 1, id: 'another' } })).toEqual(['kept', 'same']);
    expect(await merge(newer, { generation: { counter: 2, id: 'g1' } })).toEqual(['kept', 'same']);
  });

  it('entries of an archive are refused once a later run of the restore was seen, with its fence alone as well (I9)', async () => {
    expect(await merge([row('one', 'x')])).toEqual(['written']);
    expect(await merge([], { fencingToken: 20 })).toEqual([]);
    expect(await merge([row('two', 'x'), row('one', 'x')])).toEqual([undefined, undefined, 'STALE_FENCING_TOKEN']);
    expect(await merge([row('two', 'x')], { fencingToken: 20 })).toEqual(['written']);
    await expect(failureOf(merge([row('one', 'x')], {}, b))).resolves.toMatchObject({ reason: 'NOT_LEADER', metadata: { leader: 'a' } });
    await expect(failureOf(merge([], { partition: { ...partition(), keyspaceId: 'made again' } }))).resolves.toMatchObject({ reason: 'REPLICA_UNKNOWN' });
    await expect(failureOf(merge([], { clusterId: 'other' }))).resolves.toMatchObject({ reason: 'WRONG_CLUSTER' });
    await expect(failureOf(merge([], { fencingToken: 0 }))).resolves.toMatchObject({ metadata: { field: 'fencing_token' } });
    await expect(failureOf(merge([], { rows: Buffer.from('no rows') }))).resolves.toMatchObject({ metadata: { field: 'rows' } });
    await expect(failureOf(merge([], { partition: undefined }))).resolves.toMatchObject({ metadata: { field: 'partition' } });
  });

  it('refuses what it cannot read, and names why', async () => {
    const [end] = (await read(a!)).slice(-1);
    const place = end!.place!;
    await expect(failureOf(read(a!, { clusterId: 'other' }))).resolves.toMatchObject({ reason: 'WRONG_CLUSTER' });
    await expect(failureOf(read(a!, { partition: { ...partition(), keyspaceId: 'other' } }))).resolves.toMatchObject({ reason: 'REPLICA_UNKNOWN' });
    await expect(failureOf(read(a!, { place: { ...place, generation: { counter: 1, id: 'other' } } }))).resolves.toMatchObject({ reason: 'SNAPSHOT_GONE' });
    await expect(failureOf(read(a!, { upTo: place.position }))).resolves.toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'up_to' } });
    await expect(failureOf(read(a!, { place: { ...place, position: undefined } }))).resolves.toMatchObject({ reason: 'INVALID_ARGUMENT', metadata: { field: 'place' } });
    const hold = { clusterId, barrier: 'x', holdMs: 0, partitions: [] };
    await expect(failureOf(callUnary(archiveOf(a!), 'holdBarrier', hold, DEADLINE))).resolves.toMatchObject({ metadata: { field: 'hold_ms' } });
  });
});

function entriesOf(bytes: Buffer): string[] {
  const found: string[] = [];
  for (let at = 0; at < bytes.length; at += entryBytesAt(bytes, at)) {
    const { operation } = decodeEntry(bytes, at);
    found.push('key' in operation ? `${operation.kind} ${Buffer.from(operation.key).toString()}` : operation.kind);
  }
  return found;
}

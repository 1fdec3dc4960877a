import { credentials } from '@grpc/grpc-js';
import { ArchiveClient, type ReadPartitionRequest, type ReadPartitionResponse } from '@atoll/contracts/atoll/v1/archive';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { decodeEntry, entryBytesAt } from '@atoll/core-replication';
import { decodeRows } from '@atoll/core-store';
import { formatAddress } from '@atoll/platform-config';
import { eventually } from '@atoll/platform-etcd/testing';
import { callServerStream, callUnary } from '@atoll/platform-grpc';
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

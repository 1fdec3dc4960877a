import { credentials } from '@grpc/grpc-js';
import { TransferClient } from '@atoll/contracts/atoll/v1/transfer';
import { VerificationClient, type RepairReplicaRequest, type RepairReplicaResponse } from '@atoll/contracts/atoll/v1/verify';
import { KIB, keyHash } from '@atoll/core-runtime';
import { decodeRows, leafOf } from '@atoll/core-store';
import { formatAddress } from '@atoll/platform-config';
import { callServerStream, callUnary } from '@atoll/platform-grpc';
import { DEADLINE, NodeWorld, failureOf, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_121;
const REVISION = 10;

describe(`replicas are compared at a marker and repaired (R34; seed ${SEED})`, () => {
  let world: NodeWorld;
  let a: WorldNode;
  let b: WorldNode;
  const clients: VerificationClient[] = [];

  const clientOf = (node: WorldNode): VerificationClient => {
    const client = new VerificationClient(formatAddress(node.node.address), credentials.createInsecure());
    clients.push(client);
    return client;
  };
  const idOf = (node: WorldNode): string => world.record().record.inSync.find((member) => member.node === node.id)!.replica;
  const epoch = (): number => world.record().record.epoch;

  /** Digests of both at one marker: the leader's first. */
  async function compare() {
    const { digest: mine } = await callUnary(clientOf(a), 'putMarker', { coordinatorRevision: REVISION, keyspace: 'default', partition: 0, epoch: epoch() }, DEADLINE);
    const asked = { keyspace: 'default', partition: 0, replicaId: idOf(b), marker: mine!.marker };
    const { digest: its } = await callUnary(clientOf(b), 'digestAtMarker', asked, DEADLINE);
    const different = Array.from({ length: 64 }, (_, leaf) => leaf).filter((leaf) => mine!.leaves[2 * leaf] !== its!.leaves[2 * leaf] || mine!.leaves[2 * leaf + 1] !== its!.leaves[2 * leaf + 1]);
    return { mine: mine!, its: its!, different };
  }

  async function repair(leaves: readonly number[], changes: Partial<RepairReplicaRequest> = {}): Promise<RepairReplicaResponse[]> {
    const request = {
      coordinatorRevision: REVISION,
      keyspace: 'default',
      partition: 0,
      replicaId: idOf(b),
      generation: { ...world.record().record.generation },
      epoch: epoch(),
      leaves: [...leaves],
      bytesPerSecond: 0,
      ...changes,
    };
    const done: RepairReplicaResponse[] = [];
    for await (const each of callServerStream(clientOf(b), 'repairReplica', request, {})) done.push(each);
    return done;
  }

  /** What only a fault can do: the follower's store is changed without the log. */
  function damage(key: string, how: 'lost' | 'older' | 'stranger'): number {
    const { store } = b.replica().replica.state;
    const bytes = Buffer.from(key);
    const hash = keyHash(bytes);
    if (how === 'lost') store.delete(bytes, hash);
    else store.put({ key: bytes, hash, value: Buffer.from('wrong'), version: { generation: 1, epoch: 1, seq: how === 'older' ? 1 : 2 ** 40 }, expiresAtMs: 0 });
    return leafOf(hash.high);
  }

  beforeAll(async () => {
    world = new NodeWorld(SEED);
    a = await world.start('a');
    b = await world.start('b');
    await world.createKeyspace({}, [a, b]);
    await world.inSync(['a', 'b']);
    for (let index = 0; index < 300; index += 1) await a.set(`key-${index}`, `value-${index}`);
  });

  afterAll(async () => {
    for (const client of clients) client.close();
    await world.stop();
  });

  it('equal replicas have equal digests at the marker, while writes go on', async () => {
    const writing = new AbortController();
    const done = (async () => {
      for (let index = 0; !writing.signal.aborted; index += 1) await a.set(`running-${index % 50}`, `${index}`);
    })();
    for (let round = 0; round < 5; round += 1) {
      const { mine, its, different } = await compare();
      expect(different).toEqual([]);
      expect(its.entries).toBe(mine.entries);
      expect(its.marker).toEqual(mine.marker);
    }
    writing.abort();
    await done;
  });

  it('a damaged follower is found leaf by leaf, and repaired, while it follows', async () => {
    const leaves = new Set([damage('key-1', 'lost'), damage('key-2', 'older'), damage('never written', 'stranger')]);
    const { different } = await compare();
    expect(new Set(different)).toEqual(leaves);
    const writing = new AbortController();
    const done = (async () => {
      for (let index = 0; !writing.signal.aborted; index += 1) await a.set(`key-${index % 300}`, `again-${index}`);
    })();
    const repaired = await repair(different);
    writing.abort();
    await done;
    expect(repaired.map(({ leaf }) => leaf)).toEqual(different);
    expect(repaired.every(({ bytes, entries }) => entries > 0 && bytes > entries)).toBe(true);
    expect((await compare()).different).toEqual([]);
    expect(await world.equalDigests([a, b])).toBeGreaterThan(300);
    expect(await b.metric('atoll_repaired_ranges_total')).toBeGreaterThanOrEqual(different.length);
  });

  it('only the sub-range that was asked for crosses the wire', async () => {
    const client = new TransferClient(formatAddress(a.node.address), credentials.createInsecure());
    const clusterId = await world.clusterId();
    const { generation } = world.record().record;
    const request = { clusterId, keyspace: 'default', partition: 0, replicaId: idOf(b), generation: { ...generation }, epoch: epoch(), fromHigh: 2 ** 30, fromLow: 0, toHigh: 2 ** 31, toLow: 0, wantsResults: false, logSeq: 0, sharded: false };
    const highs: number[] = [];
    for await (const { rows } of callServerStream(client, 'fetchSnapshot', request, {})) highs.push(...decodeRows(rows).map(({ key }) => keyHash(key).high));
    client.close();
    expect(highs.length).toBeGreaterThan(10);
    expect(highs.every((high) => high >= 2 ** 30 && high < 2 ** 31)).toBe(true);
  });

  it('keeps to the rate that it is given', async () => {
    const key = 'a large one';
    await a.set(key, Buffer.alloc(64 * KIB));
    const leaf = leafOf(keyHash(Buffer.from(key)).high);
    const startMs = performance.now();
    const [done] = await repair([leaf], { bytesPerSecond: 256 * KIB });
    expect(done!.bytes).toBeGreaterThan(64 * KIB);
    expect(performance.now() - startMs).toBeGreaterThan(200);
  });

  it('refuses what is outdated: a former coordinator, epoch, lineage or replica, and leaders (R11, R3, I9)', async () => {
    const reasonOf = async (changes: Partial<RepairReplicaRequest>): Promise<string> => (await failureOf(repair([0], changes))).reason;
    expect(await reasonOf({ coordinatorRevision: REVISION - 1 })).toBe('STALE_FENCING_TOKEN');
    expect(await reasonOf({ epoch: 99 })).toBe('STALE_EPOCH');
    expect(await reasonOf({ generation: { counter: 7, id: 'other' } })).toBe('STALE_GENERATION');
    expect(await reasonOf({ replicaId: idOf(a) })).toBe('REPLICA_UNKNOWN');
    expect(await reasonOf({ leaves: [64] })).toBe('INVALID_ARGUMENT');
    expect(await reasonOf({ partition: 5 })).toBe('REPLICA_UNKNOWN');
    const marker = { coordinatorRevision: REVISION, keyspace: 'default', partition: 0, epoch: epoch() };
    expect((await failureOf(callUnary(clientOf(b), 'putMarker', marker, DEADLINE))).reason).toBe('NOT_LEADER');
    expect((await failureOf(callUnary(clientOf(a), 'putMarker', { ...marker, epoch: 99 }, DEADLINE))).reason).toBe('STALE_EPOCH');
    expect((await failureOf(callUnary(clientOf(a), 'putMarker', { ...marker, coordinatorRevision: 1 }, DEADLINE))).reason).toBe('STALE_FENCING_TOKEN');
  });

  it('a marker that never comes is waited for no longer than the caller does', async () => {
    const asked = { keyspace: 'default', partition: 0, replicaId: idOf(b), marker: { epoch: 1, seq: 10_000_000 } };
    const { reason } = await failureOf(callUnary(clientOf(b), 'digestAtMarker', asked, { deadlineMs: 200 }));
    expect(['REPLICA_NOT_READY', 'DEADLINE_EXCEEDED']).toContain(reason);
    const { reason: passed } = await failureOf(callUnary(clientOf(b), 'digestAtMarker', { ...asked, marker: { epoch: 1, seq: 1 } }, DEADLINE));
    expect(passed).toBe('REPLICA_NOT_READY');
  });
});

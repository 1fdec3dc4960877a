import { credentials } from '@grpc/grpc-js';
import { VerificationClient, type DigestContentRequest, type DigestContentResponse } from '@atoll/contracts/atoll/v1/verify';
import { KIB, keyHash } from '@atoll/core-runtime';
import { DIGEST_LEAVES, leafOf } from '@atoll/core-store';
import { formatAddress } from '@atoll/platform-config';
import { callServerStream, callUnary } from '@atoll/platform-grpc';
import { DEADLINE, NodeWorld, failureOf, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_122;
const REVISION = 10;
const LEAVES = Array.from({ length: DIGEST_LEAVES }, (_, leaf) => leaf);
const FINEST = 16_384;
const leafOfKey = (key: string): number => leafOf(keyHash(Buffer.from(key)).high);

describe(`replicas are read entry by entry (R34; seed ${SEED})`, () => {
  let world: NodeWorld;
  let a: WorldNode;
  let b: WorldNode;
  const clients = new Map<WorldNode, VerificationClient>();

  const clientOf = (node: WorldNode): VerificationClient => {
    const client = clients.get(node) ?? new VerificationClient(formatAddress(node.node.address), credentials.createInsecure());
    clients.set(node, client);
    return client;
  };
  const idOf = (node: WorldNode): string => world.record().record.inSync.find((member) => member.node === node.id)!.replica;

  function read(node: WorldNode, ranges: readonly number[], changes: Partial<DigestContentRequest> = {}): Promise<DigestContentResponse> {
    const { generation } = world.record().record;
    const request = { coordinatorRevision: REVISION, keyspace: 'default', partition: 0, replicaId: idOf(node), generation: { ...generation }, rangeCount: DIGEST_LEAVES, ranges: [...ranges], bytesPerSecond: 0, atNextMarker: false };
    return callUnary(clientOf(node), 'digestContent', { ...request, ...changes }, DEADLINE);
  }

  async function readAll(node: WorldNode, ranges: readonly number[] = LEAVES) {
    const answered: DigestContentResponse['ranges'] = [];
    while (answered.length < ranges.length) answered.push(...(await read(node, ranges.slice(answered.length))).ranges);
    return answered;
  }

  const putMarker = () => callUnary(clientOf(a), 'putMarker', { coordinatorRevision: REVISION, keyspace: 'default', partition: 0, epoch: world.record().record.epoch }, DEADLINE);

  /** What only a fault can do: a value on the follower changes, and its version does not. */
  function corrupt(key: string): number {
    const { store } = b.replica().replica.state;
    const bytes = Buffer.from(key);
    const { value, version, expiresAtMs } = store.peek(bytes, keyHash(bytes))!;
    const wrong = Buffer.from(value);
    wrong[0] = wrong[0]! ^ 1;
    store.put({ key: bytes, hash: keyHash(bytes), value: wrong, version, expiresAtMs });
    return leafOfKey(key);
  }

  /** Writes all the while. */
  async function beside<T>(keyOf: (index: number) => string, work: () => Promise<T>): Promise<T> {
    const writing = new AbortController();
    const done = (async () => {
      for (let index = 0; !writing.signal.aborted; index += 1) await a.set(keyOf(index), `${index}`);
    })();
    try {
      return await work();
    } finally {
      writing.abort();
      await done;
    }
  }

  beforeAll(async () => {
    world = new NodeWorld(SEED);
    a = await world.start('a');
    b = await world.start('b');
    await world.createKeyspace({}, [a, b]);
    await world.inSync(['a', 'b']);
    for (let index = 0; index < 300; index += 1) await a.set(`key-${index}`, `value-${index}`);
    await world.equalDigests([a, b]);
  });

  afterAll(async () => {
    for (const client of clients.values()) client.close();
    await world.stop();
  });

  it('equal ones have equal digests, counts and bytes, each entry once', async () => {
    const [mine, its] = await Promise.all([readAll(a), readAll(b)]);
    expect(its).toEqual(mine);
    expect(mine.map(({ range }) => range)).toEqual(LEAVES);
    expect(mine.reduce((sum, { entries }) => sum + entries, 0)).toBe(300);
    expect(mine.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(Array.from({ length: 300 }, (_, index) => `key-${index}value-${index}`).join('').length);
  });

  it('a value that differs under the same version is seen, though no digest at a marker shows it, and is repaired', async () => {
    const leaf = corrupt('key-17');
    const { digest } = await putMarker();
    const at = { keyspace: 'default', partition: 0, replicaId: idOf(b), marker: digest!.marker };
    expect((await callUnary(clientOf(b), 'digestAtMarker', at, DEADLINE)).digest!.leaves).toEqual(digest!.leaves);
    const [mine, its] = await Promise.all([readAll(a), readAll(b)]);
    expect(its.filter(({ content, range }) => content !== mine[range]!.content).map(({ range }) => range)).toEqual([leaf]);
    expect(its.map(({ versions }) => versions)).toEqual(mine.map(({ versions }) => versions));
    const { generation, epoch } = world.record().record;
    const repair = { coordinatorRevision: REVISION, keyspace: 'default', partition: 0, replicaId: idOf(b), generation: { ...generation }, epoch, leaves: [leaf], bytesPerSecond: 0 };
    for await (const part of callServerStream(clientOf(b), 'repairReplica', repair, {})) expect(part.leaf).toBe(leaf);
    expect(await readAll(b)).toEqual(mine);
  });

  it('at one marker they are equal to the last entry, however fast one key is written', async () => {
    const { high } = keyHash(Buffer.from('hot'));
    const range = Math.floor(high / (2 ** 32 / FINEST));
    await beside(() => 'hot', async () => {
      for (let round = 0; round < 5; round += 1) {
        const how = { rangeCount: FINEST, atNextMarker: true };
        // Both are known to wait when others of their calls were answered that came behind.
        const reading = [a, b].map((node) => read(node, [range], how));
        await Promise.all([read(a, [0]), read(b, [0])]);
        const { digest } = await putMarker();
        const [mine, its] = await Promise.all(reading);
        expect(mine!.marker).toEqual(digest!.marker);
        expect(its).toEqual(mine);
        expect(mine!.ranges[0]).toMatchObject({ range, unsettled: false, entries: 1 });
      }
    });
  });

  it('a leaf that is written to between its slices is told as unsettled', async () => {
    const keys = Array.from({ length: 20_000 }, (_, index) => `large-${index}`).filter((key) => leafOfKey(key) === 5).slice(0, 4);
    for (const key of keys) await a.set(key, Buffer.alloc(300 * KIB));
    const changes = { bytesPerSecond: 512 * KIB };
    const { ranges } = await beside((index) => keys[index % keys.length]!, () => read(a, [5], changes));
    expect(ranges).toEqual([{ range: 5, unsettled: true, versions: 0n, content: 0n, entries: 0, bytes: 0 }]);
  });

  it('keeps to the rate that it is given, and answers with what it has', async () => {
    await a.set('a large one', Buffer.alloc(128 * KIB));
    const leaf = leafOfKey('a large one');
    const startMs = performance.now();
    const { ranges } = await read(a, LEAVES.slice(leaf), { bytesPerSecond: 256 * KIB });
    expect(performance.now() - startMs).toBeGreaterThan(400);
    expect(ranges).toHaveLength(1);
    expect(ranges[0]!.bytes).toBeGreaterThan(128 * KIB);
  });

  it('refuses what is outdated or makes no sense, and says which (R11, R3)', async () => {
    const reasonOf = async (changes: Partial<DigestContentRequest>, ranges = [0]): Promise<string> => (await failureOf(read(a, ranges, changes))).reason;
    expect(await reasonOf({ coordinatorRevision: REVISION - 1 })).toBe('STALE_FENCING_TOKEN');
    expect(await reasonOf({ generation: { counter: 7, id: 'other' } })).toBe('STALE_GENERATION');
    expect(await reasonOf({ replicaId: idOf(b) })).toBe('REPLICA_UNKNOWN');
    expect(await reasonOf({ partition: 5 })).toBe('REPLICA_UNKNOWN');
    expect(await reasonOf({ rangeCount: 65 })).toBe('INVALID_ARGUMENT');
    expect(await reasonOf({}, [])).toBe('INVALID_ARGUMENT');
    expect(await reasonOf({}, [64])).toBe('INVALID_ARGUMENT');
    expect(await reasonOf({}, [3, 3])).toBe('INVALID_ARGUMENT');
    expect(await reasonOf({ atNextMarker: true }, [0, 1, 2, 3, 4])).toBe('INVALID_ARGUMENT');
  });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CopyPhase, type CopyStatus } from '@atoll/contracts/atoll/v1/copy';
import { DeleteRequest } from '@atoll/contracts/atoll/v1/cache';
import { standbyFence, type KeyspaceSpec } from '@atoll/core-membership';
import { FIRST_HASH } from '@atoll/core-store';
import { holdsToken, partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import { KIB, MIB, SeededRandom, keyHash } from '@atoll/core-runtime';
import { encodeKeyspaceSpec, keyspaceKey } from '@atoll/platform-etcd';
import { eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { DEADLINE, NodeWorld, failureOf, type NodeOptions, type WorldNode } from '../testing/node-world.ts';

const SEED = 20_261_123;
const ALL = { entriesMax: 1_000_000, bytesMax: 1024 * MIB };

/** Key, value and expiry of every entry of a keyspace, over its leaders. */
function contentOf(nodes: readonly WorldNode[], keyspace: string): Map<string, string> {
  const content = new Map<string, string>();
  for (const { node } of nodes) {
    for (const hosted of node.parts()!.host.keyspace(keyspace)?.replicas() ?? []) {
      if (hosted.replica.leader === undefined) continue;
      for (const { key, value, expiresAtMs } of hosted.replica.state.store.readRange(FIRST_HASH, undefined, ALL).entries) content.set(Buffer.from(key).toString(), `${value.toString()} until ${expiresAtMs}`);
    }
  }
  return content;
}

describe(`a keyspace that is a copy (seed ${SEED})`, () => {
  let world: NodeWorld;
  beforeEach(() => {
    world = new NodeWorld(SEED);
  });
  afterEach(() => world.stop());

  const copyOf = (source: KeyspaceSpec) => ({ copyOf: { job: 'c', keyspace: source.name, keyspaceId: source.id, isPaused: false } });
  const statusOf = (nodes: readonly WorldNode[]): CopyStatus[] => nodes.flatMap(({ node }) => node.parts()!.copies.get().copies);
  const equal = (nodes: readonly WorldNode[]): Promise<unknown> =>
    eventually('the copy is as its source', () => {
      const source = contentOf(nodes, 'default');
      const copy = contentOf(nodes, 'copy');
      return source.size === copy.size && [...source].every(([key, value]) => copy.get(key) === value);
    });
  const following = (nodes: readonly WorldNode[], pairs: number): Promise<unknown> =>
    eventually('all pairs follow', () => statusOf(nodes).filter(({ phase, lagSeq }) => phase === CopyPhase.COPY_PHASE_FOLLOWING && lagSeq === 0).length === pairs);
  const remove = (node: WorldNode, key: string): Promise<unknown> => callUnary(node.cache, 'delete', DeleteRequest.create({ key: Buffer.from(key) }), DEADLINE);
  const nodes = async (env: NodeOptions['env'] = {}, ...ids: string[]): Promise<WorldNode[]> => Promise.all(ids.map((id) => world.start(id, { env })));
  const change = (spec: KeyspaceSpec, changes: Partial<KeyspaceSpec>): void => {
    world.etcd.transact([], [{ kind: 'put', key: keyspaceKey(spec.name), value: encodeKeyspaceSpec({ ...spec, ...changes }) }]);
  };

  it.each([
    { source: 4, target: 4, pairs: 4 },
    { source: 2, target: 8, pairs: 8 },
    { source: 8, target: 2, pairs: 8 },
  ])('of $source partitions in $target has all entries with their expiries, and follows what is written, deleted and expires', async ({ source, target, pairs }) => {
    const [a, b] = await nodes({}, 'a', 'b');
    const spec = await world.createKeyspace({ partitionCount: source }, [a!]);
    for (let index = 0; index < 300; index += 1) await a!.set(`key-${index}`, `value-${index}`.repeat(index % 7), { ttlMs: index % 3 === 0 ? 3_600_000 : 0 });
    await a!.set('{tag}large', Buffer.alloc(3 * MIB, 'x'));
    await world.createKeyspace({ name: 'copy', partitionCount: target, ...copyOf(spec) }, [b!]);
    await equal([a!, b!]);
    await following([b!], pairs);
    for (let index = 0; index < 50; index += 1) await remove(a!, `key-${index}`);
    for (let index = 50; index < 100; index += 1) await a!.set(`key-${index}`, 'again');
    await a!.set('short', 'lived', { ttlMs: 50 });
    await eventually('it has expired', async () => (await a!.text('short')) === undefined);
    await eventually('and was swept', () => !contentOf([a!], 'default').has('short'));
    await equal([a!, b!]);
    expect(contentOf([b!], 'copy').size).toBe(251);
    for (const { lagSeq, lagMs, restarts, problem } of statusOf([b!])) expect({ lagSeq, restarts, problem, isFresh: lagMs! < 2000 }).toEqual({ lagSeq: 0, restarts: 0, problem: '', isFresh: true });
  });

  it.each([
    { source: 2, target: 8 },
    { source: 8, target: 2 },
  ])('of $source partitions in $target is compared with its source by key, value and expiry while both are written to, and what differs is told', async ({ source, target }) => {
    const [a, b] = await nodes({}, 'a', 'b');
    const spec = await world.createKeyspace({ partitionCount: source }, [a!]);
    for (let index = 0; index < 400; index += 1) await a!.set(`key-${index}`, `value-${index}`, { ttlMs: index % 4 === 0 ? 3_600_000 : 0 });
    const copy = await world.createKeyspace({ name: 'copy', partitionCount: target, ...copyOf(spec) }, [b!]);
    const stop = new AbortController();
    const writing = (async () => {
      for (let index = 0; !stop.signal.aborted; index += 1) await a!.set(`key-${index % 100}`, `again ${index}`);
    })();
    const compared = (): Promise<CopyStatus[]> => eventually('all is compared', () => (statusOf([b!]).length > 0 && statusOf([b!]).every(({ proof }) => proof !== undefined) ? statusOf([b!]) : undefined), 30_000);
    const proofs = (await compared()).map(({ proof }) => proof!);
    stop.abort();
    await writing;
    expect([proofs.reduce((total, { entries }) => total + entries, 0), proofs.reduce((total, { differing }) => total + differing, 0)]).toEqual([400, 0]);
    await equal([a!, b!]);

    // Somebody changes the copy behind everybody's back; a new office compares anew.
    const key = Buffer.from('key-7');
    const hosted = b!.replica('copy', partitionOfToken(tokenOfKey(key), target));
    hosted.replica.state.store.put({ key, hash: keyHash(key), value: Buffer.from('other'), version: { generation: 1, epoch: 1, seq: 1 }, expiresAtMs: 0 });
    change(copy, { copyOf: { ...copy.copyOf!, isPaused: true } });
    await eventually('nobody pulls', () => statusOf([b!]).length === 0);
    change(copy, {});
    expect((await compared()).map(({ proof }) => proof!.differing).filter((differing) => differing > 0)).toEqual([1]);
  });

  it('takes no other writes, and is read', async () => {
    const [a, b] = await nodes({}, 'a', 'b');
    const spec = await world.createKeyspace({}, [a!]);
    await a!.set('k', 'v');
    await world.createKeyspace({ name: 'copy', ...copyOf(spec) }, [b!]);
    await equal([a!, b!]);
    for (const key of ['k', 'other']) {
      const refused = await failureOf(b!.set(key, 'mine', { keyspace: 'copy' }));
      expect([refused.reason, refused.metadata]).toEqual(['KEYSPACE_COPYING', { field: 'keyspace', keyspace: 'copy', migration: 'c' }]);
    }
    expect((await failureOf(callUnary(b!.cache, 'delete', DeleteRequest.create({ keyspace: 'copy', key: Buffer.from('k') }), DEADLINE))).reason).toBe('KEYSPACE_COPYING');
    expect(await b!.text('k', { keyspace: 'copy' })).toBe('v');
  });

  it('goes on where it was when another replica of it leads: the origins are in its log, and in what fills a replica (R33)', async () => {
    const [a, b, c] = await nodes({}, 'a', 'b', 'c');
    const spec = await world.createKeyspace({ partitionCount: 2 }, [a!]);
    for (let index = 0; index < 200; index += 1) await a!.set(`key-${index}`, 'first');
    const copy = await world.createKeyspace({ name: 'copy', ...copyOf(spec) }, [b!]);
    await following([b!], 2);
    const { member } = await world.ensure(c!, copy);
    world.change(() => ({ learners: [member] }), 'copy');
    await world.inSync(['b', 'c'], 'copy');
    for (let index = 0; index < 100; index += 1) await remove(a!, `key-${index}`);
    await world.promote(c!, { keyspace: 'copy' });
    for (let index = 100; index < 150; index += 1) await a!.set(`key-${index}`, 'second');
    await world.serving(c!, 'copy');
    await equal([a!, b!, c!]);
    await following([c!], 2);
    expect(statusOf([b!])).toEqual([]);
    // It did not begin anew: what c holds of the place is that of b.
    expect(statusOf([c!]).map(({ restarts }) => restarts)).toEqual([0, 0]);
    for (const source of [0, 1]) expect(c!.replica('copy').replica.state.copies.get(source)?.phase).toBe('FOLLOWING');
  });

  it('goes on where it was when the process that leads it comes again with its disk', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'atoll-copy-'));
    const env = { STORAGE_NODE_DATA_DIR: directory };
    const a = await world.start('a');
    const b = await world.start('b', { env });
    const spec = await world.createKeyspace({}, [a]);
    for (let index = 0; index < 100; index += 1) await a.set(`key-${index}`, 'first');
    await world.createKeyspace({ name: 'copy', durability: 'SYNC', ...copyOf(spec) }, [b]);
    await following([b], 1);
    await b.stop();
    for (let index = 0; index < 50; index += 1) await remove(a, `key-${index}`);
    const again = await world.start('b', { env });
    const kept = again.replica('copy').replica.state.copies.get(0);
    expect(kept).toMatchObject({ phase: 'FOLLOWING', origin: { generation: 1, epoch: 1 } });
    await world.promote(again, { keyspace: 'copy' });
    await equal([a, again]);
    expect(contentOf([again], 'copy').size).toBe(50);
    await again.stop();
    await rm(directory, { recursive: true, force: true });
  });

  it('goes on at the next leader of its source', async () => {
    const [a, b, c] = await nodes({}, 'a', 'b', 'c');
    const spec = await world.createKeyspace({}, [a!, b!]);
    await a!.set('k', 'v1');
    await a!.set('gone', 'x');
    await world.createKeyspace({ name: 'copy', partitionCount: 2, ...copyOf(spec) }, [c!]);
    await following([c!], 2);
    await world.promote(b!);
    await world.serving(b!);
    await b!.set('k', 'v2');
    await remove(b!, 'gone');
    await equal([a!, b!, c!]);
    expect(statusOf([c!]).map(({ restarts }) => restarts)).toEqual([0, 0]);
  });

  it('begins anew with nothing when its place is not in the log any more: what was deleted meanwhile does not stay (I7)', async () => {
    const [a, b] = await nodes({ STORAGE_NODE_LOG_BYTES_MAX: '64KiB' }, 'a', 'b');
    const spec = await world.createKeyspace({}, [a!]);
    const random = new SeededRandom(SEED);
    for (let index = 0; index < 50; index += 1) await a!.set(`key-${index}`, 'v');
    const copy = await world.createKeyspace({ name: 'copy', partitionCount: 2, ...copyOf(spec) }, [b!]);
    await following([b!], 2);
    change(copy, { copyOf: { ...copy.copyOf!, isPaused: true } });
    await eventually('nobody pulls', () => statusOf([b!]).length === 0);
    for (let index = 0; index < 25; index += 1) await remove(a!, `key-${index}`);
    for (let index = 0; index < 100; index += 1) await a!.set(`big-${index % 10}`, Buffer.alloc(4 * KIB, random.nextUint32() % 256));
    change(copy, {});
    await eventually('both began anew', () => statusOf([b!]).filter(({ restarts }) => restarts > 0).length === 2);
    await following([b!], 2);
    await equal([a!, b!]);
    expect(contentOf([b!], 'copy').size).toBe(35);
  });

  it.each([
    { source: 8, target: 2, pairs: 4 },
    { source: 2, target: 8, pairs: 4 },
    { source: 1, target: 1, pairs: 1 },
  ])('of a range of tokens, of $source partitions in $target, has the keys that lie in it and no others, and is compared by them', async ({ source, target, pairs }) => {
    const [a, b] = await nodes({}, 'a', 'b');
    const spec = await world.createKeyspace({ partitionCount: source }, [a!]);
    const keys = Array.from({ length: 400 }, (_, index) => `key-${index}`);
    for (const key of keys) await a!.set(key, 'v');
    // From three eighths of all tokens to seven: of 8 partitions the fourth to the seventh.
    const tokens = { start: { high: 0x6000_0000, low: 0 }, end: { high: 0xe000_0000, low: 0 } };
    const inside = keys.filter((key) => holdsToken(tokens, tokenOfKey(Buffer.from(key))));
    await world.createKeyspace({ name: 'copy', partitionCount: target, copyOf: { ...copyOf(spec).copyOf, tokens } }, [b!]);
    const asInside = (present: readonly string[]): Promise<unknown> =>
      eventually('it has the keys in the range', () => {
        const content = contentOf([b!], 'copy');
        return content.size === present.length && present.every((key) => content.has(key));
      });
    await asInside(inside);
    await following([b!], pairs);
    const compared = await eventually('all is compared', () => (statusOf([b!]).every(({ proof }) => proof !== undefined) ? statusOf([b!]) : undefined), 30_000);
    expect([compared.reduce((total, { proof }) => total + proof!.entries, 0), compared.reduce((total, { proof }) => total + proof!.differing, 0)]).toEqual([inside.length, 0]);
    for (const key of keys.slice(0, 50)) await remove(a!, key);
    for (let index = 0; index < 50; index += 1) await a!.set(`new-${index}`, 'v');
    const added = Array.from({ length: 50 }, (_, index) => `new-${index}`).filter((key) => holdsToken(tokens, tokenOfKey(Buffer.from(key))));
    expect([inside.length > 100, added.length > 5]).toEqual([true, true]);
    await asInside([...inside.filter((key) => !keys.slice(0, 50).includes(key)), ...added]);
  });

  it('keeps to the bound on its bytes, takes another one while it runs, and does not hold changes back when it follows', async () => {
    const [a, b] = await nodes({}, 'a', 'b');
    const spec = await world.createKeyspace({}, [a!]);
    for (let index = 0; index < 200; index += 1) await a!.set(`key-${index}`, Buffer.alloc(16 * KIB, index));
    const slow = { ...copyOf(spec).copyOf, bytesPerSecond: 64 * KIB };
    const copy = await world.createKeyspace({ name: 'copy', copyOf: slow }, [b!]);
    const held = (): number => contentOf([b!], 'copy').size;
    const startMs = performance.now();
    await eventually('some of it came', () => held() >= 40, 20_000);
    // 3.2 MB at 64 KiB a second: the first quarter of a MiB is free, two more take four seconds each.
    expect(performance.now() - startMs).toBeGreaterThan(7000);
    expect(held()).toBeLessThan(100);
    change(copy, { copyOf: { ...slow, bytesPerSecond: 0 } });
    await following([b!], 1);
    expect(held()).toBe(200);
    change(copy, { copyOf: { ...slow, bytesPerSecond: 1024 } });
    for (let index = 0; index < 100; index += 1) await a!.set(`key-${index}`, Buffer.alloc(16 * KIB, 'y'));
    await equal([a!, b!]);
  }, 30_000);

  it('takes writes once it has the place of its source, and nothing of that one any more, also where the next leader has not heard of it (R37)', async () => {
    const [a, b, c] = await nodes({}, 'a', 'b', 'c');
    const spec = await world.createKeyspace({ partitionCount: 2 }, [a!]);
    for (let index = 0; index < 50; index += 1) await a!.set(`key-${index}`, 'first');
    const copy = await world.createKeyspace({ name: 'copy', ...copyOf(spec) }, [b!, c!]);
    await following([b!], 2);
    await equal([a!, b!, c!]);
    change(copy, { copyOf: undefined, cutOver: { job: 'c', id: 'x', fencesBelow: 1, timeMs: 0 } });
    await eventually('nobody pulls', () => statusOf([b!]).length === 0);
    await b!.set('key-1', 'mine', { keyspace: 'copy' });
    await a!.set('key-1', 'late');
    await eventually('its log says so', () => [b!, c!].every((node) => node.replica('copy').replica.state.copies.isEnded));
    // As a view says that is behind.
    change(copy, {});
    await world.promote(c!, { keyspace: 'copy' });
    await world.serving(c!, 'copy');
    expect(statusOf([c!])).toEqual([]);
    change(copy, { copyOf: undefined, cutOver: { job: 'c', id: 'x', fencesBelow: 1, timeMs: 0 } });
    await eventually('it takes writes', async () => (await c!.set('key-2', 'mine', { keyspace: 'copy' }).then(() => true, () => false)));
    expect([await c!.text('key-1', { keyspace: 'copy' }), await c!.text('key-2', { keyspace: 'copy' }), await c!.text('key-3', { keyspace: 'copy' })]).toEqual(['mine', 'mine', 'first']);
  });

  it('that stands by in the same cluster gets nothing of a leader that does not know that it has to stop without etcd (R15)', async () => {
    const [a, b] = await nodes({}, 'a', 'b');
    const spec = await world.createKeyspace({}, [a!]);
    await a!.set('k', 'v');
    await world.createKeyspace({ name: 'copy', copyOf: { ...copyOf(spec).copyOf, run: 5 } }, [b!]);
    await eventually('it says why it waits', () => statusOf([b!])[0]?.problem.includes('has not heard of the copy yet'));
    expect(statusOf([b!])[0]?.phase).not.toBe(CopyPhase.COPY_PHASE_FOLLOWING);
    world.change(() => ({ hasStandby: true }));
    await following([b!], 1);
    await equal([a!, b!]);
    // Nobody reads either from who knows that its place is about to be taken.
    world.change(() => ({ frozen: standbyFence('1') }));
    await eventually('it is read no more', async () => (await a!.get('k').then(() => '', ({ reason }: { reason: string }) => reason)) === 'PARTITION_UNAVAILABLE');
    expect((await failureOf(a!.set('k', 'late'))).reason).toBe('KEYSPACE_FROZEN');
    expect(await b!.text('k', { keyspace: 'copy' })).toBe('v');
  });

  it('begins anew when its source does: a new generation (R3)', async () => {
    const [a, b] = await nodes({}, 'a', 'b');
    const spec = await world.createKeyspace({}, [a!]);
    for (let index = 0; index < 20; index += 1) await a!.set(`key-${index}`, 'v');
    await world.createKeyspace({ name: 'copy', ...copyOf(spec) }, [b!]);
    await following([b!], 1);
    const { member, incarnation } = await world.ensure(a!, spec);
    world.change(({ epoch, generation }) => ({ epoch: (epoch + 1) as typeof epoch, generation: { counter: generation.counter + 1, id: 'g2' }, continues: generation, leader: member, leaderIncarnation: incarnation }));
    await eventually('it leads the new lineage', () => a!.replica().replica.state.generation.counter === 2 && a!.replica().replica.leader?.isServing);
    await a!.set('new', 'v');
    await equal([a!, b!]);
    expect(b!.replica('copy').replica.state.copies.get(0)?.origin.generation).toBe(2);
    expect(statusOf([b!])[0]!.restarts).toBe(1);
  });
});

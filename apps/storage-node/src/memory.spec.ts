import { MIB } from '@atoll/core-runtime';
import { eventually } from '@atoll/platform-etcd/testing';
import { NodeWorld, failureOf, type WorldNode } from './testing/node-world.ts';

const SEED = 20_261_006;
/** Leases of any length: evictions are what this is about. */
const SMALL = { env: { STORAGE_NODE_MEMORY_BYTES_MAX: '1MiB', STORAGE_NODE_LEASE_MS: '20000', STORAGE_NODE_FOLLOWER_ACK_TIMEOUT_MS: '10000' } };

describe(`memory on leader and follower (seed ${SEED})`, () => {
  let world: NodeWorld;
  let a: WorldNode;
  let b: WorldNode;

  beforeEach(async () => {
    world = new NodeWorld(SEED);
    [a, b] = [await world.start('a', SMALL), await world.start('b', SMALL)];
  });

  afterEach(() => world.stop());

  const usedBytes = (node: WorldNode): Promise<number> => node.metric('atoll_memory_used_bytes');

  it('eviction NONE: a full keyspace refuses what needs room, and goes on reading, deleting and replacing', async () => {
    await world.createKeyspace({ eviction: 'NONE' }, [a, b]);
    let count = 0;
    const fill = async (): Promise<never> => {
      for (;;) {
        await a.set(`k${count}`, Buffer.alloc(50_000));
        count += 1;
      }
    };
    expect((await failureOf(fill())).reason).toBe('MEMORY_EXHAUSTED');
    expect(count).toBeGreaterThan(10);
    for (const node of [a, b]) expect(await usedBytes(node)).toBeLessThanOrEqual(MIB);
    await a.set('k0', 'small');
    expect(await a.text('k0')).toBe('small');
    expect(await world.equalDigests([a, b])).toBe(count);
  });

  it('eviction LRU: keeps both replicas below the bound, with the same entries on both (R22, I6)', async () => {
    await world.createKeyspace({ eviction: 'LRU' }, [a, b]);
    for (let round = 0; round < 10; round += 1) {
      await Promise.all(Array.from({ length: 20 }, (_, index) => a.set(`k${round}-${index}`, Buffer.alloc(20_000, round))));
    }
    expect(await a.get('k9-19')).toMatchObject({ found: true });
    const entries = await world.equalDigests([a, b]);
    expect(entries).toBeLessThan(60);
    expect(entries).toBeGreaterThan(20);
    for (const node of [a, b]) {
      expect(await usedBytes(node)).toBeLessThanOrEqual(MIB);
      expect(await node.metric('atoll_removed_entries_total', 'evicted')).toBe(200 - entries);
    }
    const reads = async (): Promise<number[]> => [await a.metric('atoll_reads_total', 'hit'), await a.metric('atoll_reads_total', 'miss')];
    const [hits = 0, misses = 0] = await reads();
    await Promise.all([a.get('k9-19'), a.get('nothing')]);
    expect(await reads()).toEqual([hits + 1, misses + 1]);
    expect(await a.metric('atoll_in_sync_replicas')).toBe(2);
  });

  it('removes what is expired on both by the log (R23)', async () => {
    await world.createKeyspace({}, [a, b]);
    for (let index = 0; index < 100; index += 1) await a.set(`k${index}`, 'v', { ttlMs: index % 2 === 0 ? 20 : 60_000 });
    await eventually('swept', async () => (await a.held())[0]!.entries === 50 && (await b.held())[0]!.entries === 50);
    expect(await world.equalDigests([a, b])).toBe(50);
    for (const node of [a, b]) expect(await node.metric('atoll_removed_entries_total', 'expired')).toBe(50);
    expect(await a.text('k1')).toBe('v');
  });
});

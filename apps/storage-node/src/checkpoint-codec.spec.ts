import { FenceTable } from '@atoll/core-locks';
import { CopyPositions, type CopyPosition } from '@atoll/core-replication';
import { MIB, SeededRandom, keyHash } from '@atoll/core-runtime';
import { DIGEST_LEAVES, FIRST_HASH, PartitionStore, StoreMemory } from '@atoll/core-store';
import { checkpointChunks, restoreChunk } from './checkpoint-codec.ts';

const SEED = 20_261_002;

function createStore(): PartitionStore {
  const memory = new StoreMemory({ bytesMax: 64 * MIB });
  return new PartitionStore({ account: memory.openAccount('k', 1), random: new SeededRandom(SEED) });
}

function put(store: PartitionStore, name: string, value: Buffer, changes: { seq?: number; expiresAtMs?: number } = {}): void {
  const key = Buffer.from(name);
  store.put({ key, hash: keyHash(key), value, version: { generation: 3, epoch: 7, seq: changes.seq ?? 1 }, expiresAtMs: changes.expiresAtMs ?? 0 });
}

/** Sums over key, value, version and expiry of all entries. */
function contentOf(store: PartitionStore): number[] {
  const leaves = new Uint32Array(2 * DIGEST_LEAVES);
  expect(store.addContentDigest(leaves, FIRST_HASH, { entriesMax: 100_000, bytesMax: 64 * MIB })).toBeUndefined();
  return [...leaves];
}

const noPause = (): Promise<void> => Promise.resolve();

describe('the chunks of a checkpoint', () => {
  it('bring back every entry with version and expiry, the fencing tokens (R38), and the origins of a copy (R37)', async () => {
    const random = new SeededRandom(SEED);
    const store = createStore();
    put(store, 'empty', Buffer.alloc(0));
    put(store, 'long'.repeat(1024), Buffer.from('v'));
    put(store, 'late', Buffer.from('v'), { seq: 2 ** 45 + 17, expiresAtMs: 4_102_444_800_123 });
    put(store, 'large', Buffer.alloc(3 * MIB, 'x'));
    for (let index = 0; index < 5000; index += 1) put(store, `key-${index}`, Buffer.alloc(random.nextUint32() % 300, index % 256), { seq: index });
    const restored = createStore();
    const fences = new FenceTable();
    fences.observe({ lock: { kind: 'name', name: 'n' }, token: 7, isShared: false });
    const restoredFences = new FenceTable();
    const copies = new CopyPositions();
    const position: CopyPosition = { source: 3, phase: 'COPYING', origin: { generation: 2, epoch: 9, seq: 2 ** 40 + 5 }, stampMs: 1_800_000_000_001, next: { high: 0xfedc_ba98, low: 0x7654_3210 } };
    copies.set(position, 1);
    copies.set({ ...position, source: 4, phase: 'FOLLOWING', next: undefined }, 2);
    const restoredCopies = new CopyPositions();
    let chunkCount = 0;
    for await (const chunk of checkpointChunks({ store, fences, copies }, noPause)) {
      restoreChunk({ store: restored, fences: restoredFences, copies: restoredCopies }, chunk);
      chunkCount += 1;
    }
    expect(restoredFences.outdatedBy({ lock: { kind: 'name', name: 'n' }, token: 6, isShared: false })).toBe(7);
    expect([3, 4].map((source) => restoredCopies.get(source))).toEqual([3, 4].map((source) => copies.get(source)));
    expect(chunkCount).toBeGreaterThan(2);
    expect(restored.entryCount).toBe(store.entryCount);
    expect(contentOf(restored)).toEqual(contentOf(store));
    expect(restored.liveBytes).toBe(store.liveBytes);
  });

  it('are none for an empty store', async () => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of checkpointChunks({ store: createStore(), fences: new FenceTable(), copies: new CopyPositions() }, noPause)) chunks.push(chunk);
    expect(chunks).toEqual([]);
  });
});

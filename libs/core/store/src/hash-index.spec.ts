import type { Hash64 } from '@atoll/core-runtime';
import { SeededRandom, compareHash, randomBelow } from '@atoll/core-runtime';
import { INDEX_BYTES_PER_ENTRY } from './entry-layout.ts';
import { HashIndex } from './hash-index.ts';

function insert(index: HashIndex, hash: Hash64, ref: number): void {
  const page = index.pageOf(hash.high);
  index.insert(page, page.lowerBound(hash.high, hash.low), hash, ref);
}

function remove(index: HashIndex, hash: Hash64): void {
  const page = index.pageOf(hash.high);
  const slot = page.lowerBound(hash.high, hash.low);
  if (!page.holds(slot, hash.high, hash.low)) throw new Error(`${hash.high}/${hash.low} is not in the index`);
  index.removeAt(page, slot);
}

function hashesOf(index: HashIndex): Hash64[] {
  return [...index.pages()].flatMap((page) => Array.from({ length: page.count }, (_, slot) => ({ high: page.highAt(slot), low: page.lowAt(slot) })));
}

function slotBytesOf(index: HashIndex): number {
  return [...index.pages()].reduce((sum, page) => sum + page.capacity * 12, 0);
}

/** Pages adjoin, cover all hashes, and each is found by the hashes at both its ends. */
function gapsOf(index: HashIndex): string[] {
  const gaps: string[] = [];
  let end = 0;
  for (const page of index.pages()) {
    if (page.start !== end) gaps.push(`${end} to ${page.start}`);
    if (index.pageOf(page.start) !== page || index.pageOf(page.end - 1) !== page) gaps.push(`directory at ${page.start}`);
    end = page.end;
  }
  if (end !== 2 ** 32) gaps.push(`${end} to the end`);
  return gaps;
}

const shapes: [string, (random: SeededRandom) => Hash64][] = [
  ['uniform hashes', (random) => ({ high: random.nextUint32(), low: random.nextUint32() })],
  ['hashes with one upper half', (random) => ({ high: 0x8000_0001, low: random.nextUint32() })],
  ['upper halves at which pages begin', (random) => ({ high: (random.nextUint32() & 0xf800_0000) >>> 0, low: random.nextUint32() })],
  ['hashes that begin with 16 equal bits', (random) => ({ high: (0x7fff_0000 + randomBelow(random, 65536)) >>> 0, low: random.nextUint32() })],
  [
    'half of them uniform, half in one place',
    (random) => (randomBelow(random, 2) === 0 ? { high: random.nextUint32(), low: 0 } : { high: 5, low: random.nextUint32() }),
  ],
];

describe.each(shapes)('HashIndex with %s', (_, draw) => {
  it.each([41, 42])('stays ordered and complete while it grows and shrinks, and gives its room back (seed %i)', (seed) => {
    const random = new SeededRandom(seed);
    const index = new HashIndex();
    const hashes: Hash64[] = [];
    for (let ref = 0; ref < 12_000; ref += 1) {
      const hash = draw(random);
      hashes.push(hash);
      insert(index, hash, ref);
    }
    expect(gapsOf(index)).toEqual([]);
    expect(hashesOf(index)).toEqual(hashes.toSorted(compareHash));
    expect([...index.pages()].length).toBeLessThan(12_000 / 16);
    expect(slotBytesOf(index)).toBeLessThan(12_000 * INDEX_BYTES_PER_ENTRY * 1.1);

    const gaps: string[] = [];
    while (hashes.length > 300) {
      const [hash] = hashes.splice(randomBelow(random, hashes.length), 1);
      remove(index, hash!);
      if (hashes.length % 2000 === 0) gaps.push(...gapsOf(index));
    }
    expect(gaps).toEqual([]);
    expect(hashesOf(index)).toEqual(hashes.toSorted(compareHash));
    expect(slotBytesOf(index)).toBeLessThan(300 * 12 * 8);
    expect([...index.pages()].length).toBeLessThan(20);
  });
});

describe('HashPage.lowerBound', () => {
  it.each([
    ['uniform', (slot: number) => slot * 9_000_000],
    ['at the lower end', (slot: number) => slot],
    ['at the upper end', (slot: number) => 2 ** 32 - 500 + slot],
    ['of two clusters', (slot: number) => (slot < 200 ? slot : 2 ** 32 - 500 + slot)],
    ['all equal', () => 77],
  ])('finds the first slot not below any hash, %s', (_, highOf) => {
    const index = new HashIndex();
    const hashes = Array.from({ length: 400 }, (__, slot) => ({ high: highOf(slot), low: slot * 2 }));
    for (const [ref, hash] of hashes.entries()) insert(index, hash, ref);
    const page = index.pageOf(0);
    const wrong: unknown[] = [];
    for (const { high, low } of hashes) {
      for (const asked of [{ high, low }, { high, low: low + 1 }, { high: high + 1, low: 0 }, { high: Math.max(high - 1, 0), low: 2 ** 32 - 1 }]) {
        const expected = hashes.filter((other) => compareHash(other, asked) < 0).length;
        if (page.lowerBound(asked.high, asked.low) !== expected) wrong.push(asked);
      }
    }
    expect(wrong).toEqual([]);
  });
});

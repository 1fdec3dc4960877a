import { tokenFromBigInt } from '@atoll/core-placement';
import { SeededRandom } from '@atoll/core-runtime';
import type { Fence, FencedLock } from './fence.ts';
import { FENCED_LOCKS_MAX, FenceTable } from './fence-table.ts';

const SEED = 20_260_301;
const named = (name: string): FencedLock => ({ kind: 'name', name });
const range = (start: number, end?: number): FencedLock => ({
  kind: 'range',
  range: { start: tokenFromBigInt(BigInt(start)), end: end === undefined ? undefined : tokenFromBigInt(BigInt(end)) },
});
const exclusive = (token: number, lock: FencedLock = named('n')): Fence => ({ lock, token, isShared: false });
const shared = (token: number, lock: FencedLock = named('n')): Fence => ({ lock, token, isShared: true });

function tableOf(...fences: readonly Fence[]): FenceTable {
  const table = new FenceTable();
  for (const fence of fences) table.observe(fence);
  return table;
}

describe('FenceTable (R38, I9)', () => {
  it.each([
    ['the same holder', [exclusive(10)], exclusive(10), undefined],
    ['a later holder', [exclusive(10)], exclusive(11), undefined],
    ['an earlier holder', [exclusive(10)], exclusive(9), 10],
    ['an earlier holder of another name', [exclusive(10)], exclusive(9, named('m')), undefined],
    ['shared holders side by side, the older one too', [shared(10), shared(20)], shared(10), undefined],
    ['a shared holder that an exclusive one followed', [shared(10), exclusive(20)], shared(10), 20],
    ['an exclusive holder that a shared one followed', [exclusive(10), shared(20)], exclusive(10), 20],
    ['a shared holder behind an exclusive one', [exclusive(10), shared(20)], shared(20), undefined],
    ['a range that overlaps a later one', [exclusive(20, range(50, 150))], exclusive(10, range(0, 100)), 20],
    ['a range that touches a later one', [exclusive(20, range(100, 150))], exclusive(10, range(0, 100)), undefined],
    ['a part of a range that was held later as a whole', [exclusive(20, range(0))], exclusive(10, range(7, 8)), 20],
    ['the highest of several', [exclusive(20, range(0, 60)), exclusive(30, range(60, 90))], exclusive(10, range(0, 100)), 30],
    ['a name and a range', [exclusive(20, range(0))], exclusive(10, named('n')), undefined],
  ])('%s', (_, seen, fence, outdatedBy) => {
    expect(tableOf(...seen).outdatedBy(fence)).toBe(outdatedBy);
  });

  it.each([
    ['the first of a lock', [], exclusive(1), true],
    ['what it knows', [exclusive(5)], exclusive(5), false],
    ['a shared token below an exclusive one', [exclusive(5)], shared(4), false],
    ['an exclusive token above a shared one', [exclusive(5), shared(8)], exclusive(9), true],
    ['a part of a range it knows', [exclusive(5, range(0, 100))], exclusive(5, range(10, 20)), false],
    ['more than a range it knows', [exclusive(5, range(10, 20))], exclusive(5, range(10, 21)), true],
    ['a wide range that is known beside a narrow one with less', [exclusive(3, range(0, 50)), exclusive(5, range(0, 100))], exclusive(5, range(0, 60)), false],
  ])('whether it is news: %s', (_, seen, fence, isNews) => {
    expect(tableOf(...seen).isNews(fence)).toBe(isNews);
  });

  it('keeps one record of a wide range that knows more than the narrow ones', () => {
    const table = tableOf(exclusive(5, range(0, 10)), exclusive(6, range(10, 20)), exclusive(9, range(30, 40)), exclusive(8, range(0, 100)));
    expect(table.size).toBe(2);
    expect(table.outdatedBy(exclusive(8, range(35, 36)))).toBe(9);
  });

  it('has a bound: the lowest go and become a floor that counts for every lock (I10)', () => {
    const table = new FenceTable();
    for (let token = 1; token <= FENCED_LOCKS_MAX + 10; token += 1) table.observe(exclusive(token, named(`lock-${token}`)));
    expect(table.size).toBe(FENCED_LOCKS_MAX);
    expect(table.outdatedBy(exclusive(4, named('lock-5')))).toBe(10);
    expect(table.outdatedBy(exclusive(9, named('new')))).toBe(10);
    expect(table.outdatedBy(exclusive(10, named('lock-10')))).toBeUndefined();
    expect(table.outdatedBy(exclusive(11, named('lock-11')))).toBeUndefined();
  });

  it('never forgets that a token is outdated, over codec, merge and its bound', () => {
    const random = new SeededRandom(SEED);
    const below = (bound: number): number => random.nextUint32() % bound;
    for (let round = 0; round < 30; round += 1) {
      const seen: Fence[] = [];
      const tables = [new FenceTable(), new FenceTable()];
      for (let token = 1; token <= 600; token += 1) {
        const start = below(1000);
        const lock = below(2) === 0 ? named(`n${below(400)}`) : range(start, start + 1 + below(50));
        const fence: Fence = { lock, token, isShared: below(3) === 0 };
        seen.push(fence);
        tables[below(2)]!.observe(fence);
      }
      const copy = FenceTable.decode(tables[0]!.encode());
      copy.merge(FenceTable.decode(tables[1]!.encode()));
      expect(copy.size).toBeLessThanOrEqual(FENCED_LOCKS_MAX);
      for (const fence of seen) {
        // What one table alone refuses, the merged copy refuses; and so does what was seen of the same lock.
        const isRefused = tables.some((table) => table.outdatedBy(fence) !== undefined);
        expect(isRefused && copy.outdatedBy(fence) === undefined).toBe(false);
        expect(!fence.isShared && copy.outdatedBy({ ...fence, token: fence.token - 1 }) === undefined).toBe(false);
        expect(copy.isNews(fence) && copy.outdatedBy(fence) === undefined).toBe(false);
      }
    }
  });

  it('is no bytes that were never anything, and nothing again after clear', () => {
    expect(FenceTable.decode(new Uint8Array(0)).isEmpty).toBe(true);
    const table = tableOf(exclusive(3));
    table.clear();
    expect([table.isEmpty, table.outdatedBy(exclusive(1))]).toEqual([true, undefined]);
    expect(() => FenceTable.decode(Buffer.alloc(5))).toThrow(expect.objectContaining({ name: 'RangeError' }));
  });
});

import { sourcePartitionsOf } from './source-partitions.ts';
import { tokenFromBigInt, type TokenRange } from './token.ts';

/** Bounds in sixteenths of all tokens. */
const sixteenths = (start: number, end: number): TokenRange => ({ start: tokenFromBigInt(BigInt(start) << 60n), end: end === 16 ? undefined : tokenFromBigInt(BigInt(end) << 60n) });

describe('partitions of a source that have keys of a partition of its copy', () => {
  it.each([
    { source: 4, target: 4, partition: 2, of: [2] },
    { source: 2, target: 8, partition: 5, of: [1] },
    { source: 8, target: 2, partition: 1, of: [4, 5, 6, 7] },
    { source: 1, target: 4, partition: 3, of: [0] },
  ])('$source to $target: $partition has keys of $of', ({ source, target, partition, of }) => {
    expect(sourcePartitionsOf(partition, { sourceCount: source, targetCount: target, tokens: undefined })).toEqual(of);
    expect(sourcePartitionsOf(partition, { sourceCount: source, targetCount: target, tokens: sixteenths(0, 16) })).toEqual(of);
  });

  // tokens          |0...4...8..12..16
  // copied          |     -----
  // source of 8     |0 1 2 3 4 5 6 7
  // target of 2     |0       1
  it('of a range of tokens only those that have some of it', () => {
    const tokens = sixteenths(5, 10);
    expect([0, 1].map((partition) => sourcePartitionsOf(partition, { sourceCount: 8, targetCount: 2, tokens }))).toEqual([[2, 3], [4]]);
    expect([0, 1, 2, 3].map((partition) => sourcePartitionsOf(partition, { sourceCount: 1, targetCount: 4, tokens }))).toEqual([[], [0], [0], []]);
    expect(sourcePartitionsOf(3, { sourceCount: 4, targetCount: 4, tokens })).toEqual([]);
  });
});

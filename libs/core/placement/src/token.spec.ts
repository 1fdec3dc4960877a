import { isAtollError } from '@atoll/core-errors';
import { toPartitionId } from '@atoll/core-runtime';
import {
  hashTagOf,
  partitionOfToken,
  tokenFromBigInt,
  tokenOfKey,
  tokenRangeOf,
  tokenRangeToBigInt,
  tokenToBigInt,
} from './token.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const everyByte = (times: number) => Uint8Array.from({ length: 256 * times }, (_, index) => index % 256);

describe('golden vectors: a client in any language must compute the same', () => {
  // xxh64 of the tag with seed 0x61746f6c6c5f746b; computed with an implementation of doc/xxhash_spec.md of its own.
  it.each([
    { key: bytes('a'), token: 0x71db77650da41df2n, of64: 28, of4096: 1821 },
    { key: bytes('user:1000'), token: 0x6e035dc2a6e4dfc9n, of64: 27, of4096: 1760 },
    { key: bytes('{user1000}.following'), token: 0x8c66e4ddc008bb23n, of64: 35, of4096: 2246 },
    { key: bytes('{user1000}.followers'), token: 0x8c66e4ddc008bb23n, of64: 35, of4096: 2246 },
    { key: bytes('foo{}{bar}'), token: 0x4b820eb1b0a7cc8fn, of64: 18, of4096: 1208 },
    { key: bytes('foo{{bar}}zap'), token: 0x6b50350d1c8a6a4an, of64: 26, of4096: 1717 },
    { key: bytes('foo{bar}{zap}'), token: 0x27f597b8c62741den, of64: 9, of4096: 639 },
    { key: bytes('foo{bar'), token: 0xb04a6396dba57e6bn, of64: 44, of4096: 2820 },
    { key: bytes('foo}bar{baz}'), token: 0x310374f8cbc21316n, of64: 12, of4096: 784 },
    { key: bytes('{}'), token: 0xc8fe4c79d8ca5769n, of64: 50, of4096: 3215 },
    { key: Uint8Array.of(0x00, 0xff), token: 0xa5a0d5563e1c7126n, of64: 41, of4096: 2650 },
    { key: bytes('the quick brown fox jumps over the lazy dog'), token: 0xf1fdd45572d2b977n, of64: 60, of4096: 3871 },
    // Holds `{` (0x7b) with `}` (0x7d) two bytes later: the tag is the one byte 0x7c.
    { key: everyByte(16), token: 0x044ccc878482cc25n, of64: 1, of4096: 68 },
  ])('token $token', ({ key, token, of64, of4096 }) => {
    expect(tokenToBigInt(tokenOfKey(key))).toBe(token);
    expect(partitionOfToken(tokenOfKey(key), 64)).toBe(of64);
    expect(partitionOfToken(tokenOfKey(key), 4096)).toBe(of4096);
    expect(partitionOfToken(tokenOfKey(key), 1)).toBe(0);
  });
});

describe('hash tags', () => {
  it.each([
    ['plain', 'plain'],
    ['{tag}', 'tag'],
    ['a{tag}b', 'tag'],
    ['a{one}{two}', 'one'],
    ['a{}b', 'a{}b'],
    ['a{}{tag}', 'a{}{tag}'],
    ['a{{tag}}', '{tag'],
    ['}a{tag}', 'tag'],
    ['a{open', 'a{open'],
    ['a}shut', 'a}shut'],
    ['', ''],
  ])('of %j is %j', (key, tag) => {
    expect(new TextDecoder().decode(hashTagOf(bytes(key)))).toBe(tag);
  });
});

describe('token ranges', () => {
  it.each([1, 2, 64, 4096])('of %i partitions are equal, join without a gap and cover 2^64', (partitionCount) => {
    let next = 0n;
    for (let partition = 0; partition < partitionCount; partition += 1) {
      const range = tokenRangeOf(toPartitionId(partition), partitionCount);
      const { first, last } = tokenRangeToBigInt(range);
      expect(first).toBe(next);
      expect(last - first + 1n).toBe((1n << 64n) / BigInt(partitionCount));
      expect(partitionOfToken(tokenFromBigInt(first), partitionCount)).toBe(partition);
      expect(partitionOfToken(tokenFromBigInt(last), partitionCount)).toBe(partition);
      next = last + 1n;
    }
    expect(next).toBe(1n << 64n);
  });

  it('leave the end of the last one open', () => {
    expect(tokenRangeOf(toPartitionId(63), 64)).toEqual({ start: { high: 0xfc000000, low: 0 }, end: undefined });
    expect(tokenRangeOf(toPartitionId(0), 64)).toEqual({ start: { high: 0, low: 0 }, end: { high: 0x04000000, low: 0 } });
  });

  it.each([0, 3, 8192, -2, 1.5, NaN])('refuse a partition count of %d', (partitionCount) => {
    expect(reasonOf(() => tokenRangeOf(toPartitionId(0), partitionCount))).toBe('INVALID_ARGUMENT');
  });

  it.each([-1, 64, 0.5])('refuse partition %d of 64', (partition) => {
    expect(reasonOf(() => tokenRangeOf(toPartitionId(partition), 64))).toBe('INVALID_ARGUMENT');
  });
});

function reasonOf(action: () => unknown): string {
  try {
    action();
    return 'none';
  } catch (error) {
    return isAtollError(error) ? error.reason : String(error);
  }
}

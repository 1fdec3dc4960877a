import { WHOLE_RANGE, contains, holdsToken, overlaps } from './token-range.ts';
import { tokenFromBigInt, type TokenRange } from './token.ts';

const range = (start: number, end?: number): TokenRange => ({ start: tokenFromBigInt(BigInt(start)), end: end === undefined ? undefined : tokenFromBigInt(BigInt(end)) });

describe('ranges of tokens', () => {
  it.each([
    ['ranges that touch', range(0, 10), range(10, 20), false, false],
    ['ranges that share one token', range(0, 11), range(10, 20), true, false],
    ['one in the other', range(0, 100), range(10, 20), true, true],
    ['equal ones', range(5, 6), range(5, 6), true, true],
    ['one up to the end and one below it', range(10), range(0, 10), false, false],
    ['two up to the end', range(10), range(20), true, true],
    ['all and one up to the end', WHOLE_RANGE, range(2 ** 40), true, true],
    ['a range and all', range(10, 20), WHOLE_RANGE, true, false],
  ])('%s', (_, a, b, isOverlap, isInside) => {
    expect([overlaps(a, b), overlaps(b, a), contains(a, b)]).toEqual([isOverlap, isOverlap, isInside]);
  });

  it('hold their start, and not their end', () => {
    const tokens = [9, 10, 19, 20, 2 ** 40].map((token) => tokenFromBigInt(BigInt(token)));
    expect(tokens.map((token) => holdsToken(range(10, 20), token))).toEqual([false, true, true, false, false]);
    expect(tokens.map((token) => holdsToken(range(10), token))).toEqual([false, true, true, true, true]);
  });
});

import { compareHash, type Hash64 } from '@atoll/core-runtime';
import type { TokenRange } from './token.ts';

/** Every token. */
export const WHOLE_RANGE: TokenRange = { start: { high: 0, low: 0 }, end: undefined };

export function holdsToken({ start, end }: TokenRange, token: Hash64): boolean {
  return compareHash(start, token) <= 0 && (end === undefined || compareHash(token, end) < 0);
}

/** Whether some token lies in both. */
export function overlaps(a: TokenRange, b: TokenRange): boolean {
  return (b.end === undefined || compareHash(a.start, b.end) < 0) && (a.end === undefined || compareHash(b.start, a.end) < 0);
}

/** Whether every token of `inner` lies in `outer`. */
export function contains(outer: TokenRange, inner: TokenRange): boolean {
  if (compareHash(outer.start, inner.start) > 0) return false;
  return outer.end === undefined || (inner.end !== undefined && compareHash(inner.end, outer.end) <= 0);
}

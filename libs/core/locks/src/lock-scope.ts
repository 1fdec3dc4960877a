import type { TokenRange } from '@atoll/core-placement';
import { compareHash } from '@atoll/core-runtime';

/** SHARED ones stand side by side; an EXCLUSIVE one stands alone. */
export type LockMode = 'EXCLUSIVE' | 'SHARED';

/** What a lock guards: a name of its user's choice, or the keys of a keyspace whose tokens lie in a range. */
export type LockScope =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'range'; readonly keyspace: string; readonly range: TokenRange };

/** Every token. */
export const WHOLE_RANGE: TokenRange = { start: { high: 0, low: 0 }, end: undefined };

/** Whether some token lies in both. */
export function overlaps(a: TokenRange, b: TokenRange): boolean {
  return (b.end === undefined || compareHash(a.start, b.end) < 0) && (a.end === undefined || compareHash(b.start, a.end) < 0);
}

/** Whether every token of `inner` lies in `outer`. */
export function contains(outer: TokenRange, inner: TokenRange): boolean {
  if (compareHash(outer.start, inner.start) > 0) return false;
  return outer.end === undefined || (inner.end !== undefined && compareHash(inner.end, outer.end) <= 0);
}

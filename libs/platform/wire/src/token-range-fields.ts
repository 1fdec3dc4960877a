// Ranges of tokens as contracts carry them: the first token and the one behind the last, 0 for the end of all tokens.
import { invalidArgument } from '@atoll/core-errors';
import { tokenFromBigInt, tokenToBigInt, type TokenRange } from '@atoll/core-placement';

/** `names`: of the two fields. Throws INVALID_ARGUMENT. */
export function toTokenRange(names: { readonly start: string; readonly end: string }, start: bigint, end: bigint): TokenRange {
  if (end !== 0n && start >= end) throw invalidArgument(names.end, `must be above ${names.start}, or 0 for the end of all tokens`);
  return { start: tokenFromBigInt(start), end: end === 0n ? undefined : tokenFromBigInt(end) };
}

export function fromTokenRange({ start, end }: TokenRange): readonly [start: bigint, end: bigint] {
  return [tokenToBigInt(start), end === undefined ? 0n : tokenToBigInt(end)];
}

/** `0000000000000000..8000000000000000`, as people write them; an empty end is that of all tokens. */
export function tokenRangeText(range: TokenRange): string {
  const [start, end] = fromTokenRange(range).map((token) => token.toString(16).padStart(16, '0'));
  return `${start}..${range.end === undefined ? '' : end}`;
}

import { toPartitionId } from '@atoll/core-runtime';
import { overlaps } from './token-range.ts';
import { tokenRangeOf, type TokenRange } from './token.ts';

export interface CopiedShape {
  /** Partitions of the source and of its copy: powers of two. */
  readonly sourceCount: number;
  readonly targetCount: number;
  /** The keys that are copied; undefined: all. */
  readonly tokens: TokenRange | undefined;
}

/** Partitions of a source that have keys of a partition of its copy, ascending; none where none of these is copied. */
export function sourcePartitionsOf(partition: number, { sourceCount, targetCount, tokens }: CopiedShape): number[] {
  const width = Math.max(1, sourceCount / targetCount);
  const first = sourceCount <= targetCount ? Math.floor((partition * sourceCount) / targetCount) : partition * width;
  const sources = Array.from({ length: width }, (_, index) => first + index);
  if (tokens === undefined) return sources;
  // What a pair has in common are the tokens of the narrower one.
  const common = (source: number): TokenRange => (sourceCount <= targetCount ? tokenRangeOf(toPartitionId(partition), targetCount) : tokenRangeOf(toPartitionId(source), sourceCount));
  return sources.filter((source) => overlaps(tokens, common(source)));
}

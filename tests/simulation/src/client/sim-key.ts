import { partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import { keyHash, type Hash64 } from '@atoll/core-runtime';
import type { SimPlan } from '../plan.ts';

/** A key that clients use. Its name says which partition it is in, how it is written and whether it may expire. */
export interface SimKey {
  readonly name: string;
  readonly key: Buffer;
  readonly hash: Hash64;
  readonly partition: number;
  readonly isCounter: boolean;
  readonly hasTtl: boolean;
}

/** In worlds whose keyspaces are copied into others, of other partitions, tokens decide (R32). */
export const partitionOfKey = (key: Buffer, partitionCount: number): number => partitionOfToken(tokenOfKey(key), partitionCount);

export function makeKeys({ keyCount, partitionCount, copyGapMs }: SimPlan): readonly SimKey[] {
  return Array.from({ length: keyCount }, (_, index): SimKey => {
    const key = Buffer.from(`key-${index}`);
    return { name: `key-${index}`, key, hash: keyHash(key), partition: copyGapMs > 0 ? partitionOfKey(key, partitionCount) : index % partitionCount, isCounter: index % 3 === 0, hasTtl: index % 4 === 3 };
  });
}

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

export function makeKeys({ keyCount, partitionCount }: SimPlan): readonly SimKey[] {
  return Array.from({ length: keyCount }, (_, index): SimKey => {
    const key = Buffer.from(`key-${index}`);
    return { name: `key-${index}`, key, hash: keyHash(key), partition: index % partitionCount, isCounter: index % 3 === 0, hasTtl: index % 4 === 3 };
  });
}

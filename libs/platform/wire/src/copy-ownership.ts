import type { FollowSourceRequest } from '@atoll/contracts/atoll/v1/copy';
import { invalidArgument } from '@atoll/core-errors';
import { checkPartitionCount, holdsToken, partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import { toTokenRange } from './token-range-fields.ts';

/** Which keys of the source's partition belong to the one of the copy. Throws INVALID_ARGUMENT. */
export function copyOwnership({ targetPartition, targetPartitionCount, tokenFrom, tokenTo }: Pick<FollowSourceRequest, 'targetPartition' | 'targetPartitionCount' | 'tokenFrom' | 'tokenTo'>): (key: Uint8Array) => boolean {
  checkPartitionCount(targetPartitionCount);
  if (targetPartition >= targetPartitionCount) throw invalidArgument('target_partition', `must be below ${targetPartitionCount}, is ${targetPartition}`);
  const range = toTokenRange({ start: 'token_from', end: 'token_to' }, tokenFrom, tokenTo);
  return (key) => {
    const token = tokenOfKey(key);
    return partitionOfToken(token, targetPartitionCount) === targetPartition && holdsToken(range, token);
  };
}

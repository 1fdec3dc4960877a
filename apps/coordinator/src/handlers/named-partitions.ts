import { invalidArgument } from '@atoll/core-errors';
import { keyspaceNotFound, type PartitionRecord } from '@atoll/core-membership';
import type { ClusterView } from '@atoll/platform-etcd';

/** Records of a keyspace's partitions, in order; of all that are written where none is named. Throws KEYSPACE_NOT_FOUND, INVALID_ARGUMENT. */
export function namedPartitions(view: ClusterView, keyspace: string, partitions: readonly number[]): PartitionRecord[] {
  const spec = view.keyspace(keyspace);
  if (spec === undefined) throw keyspaceNotFound(keyspace);
  const outside = partitions.find((partition) => partition >= spec.partitionCount);
  if (outside !== undefined) throw invalidArgument('partitions', `${outside} is not below ${spec.partitionCount}`);
  const wanted = new Set(partitions);
  return view.partitions(keyspace).map(({ record }) => record).filter(({ partition }) => wanted.size === 0 || wanted.has(partition));
}

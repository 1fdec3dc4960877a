import type { KeyspaceSpec, VersionedRecord } from '@atoll/core-membership';

export interface PartitionHealth {
  readonly partitions: number;
  /** Nobody leads them, or they have no record yet. */
  readonly withoutLeader: number;
  /** Fewer in-sync replicas than the replication factor asks for. */
  readonly underReplicated: number;
}

export function countHealth(keyspaces: Iterable<KeyspaceSpec>, recordsOf: (keyspace: string) => readonly VersionedRecord[]): PartitionHealth {
  let partitions = 0;
  let withoutLeader = 0;
  let underReplicated = 0;
  for (const { name, partitionCount, replicationFactor } of keyspaces) {
    const records = recordsOf(name);
    partitions += partitionCount;
    const missing = partitionCount - records.length;
    withoutLeader += missing + records.filter(({ record }) => record.leader === undefined).length;
    underReplicated += missing + records.filter(({ record }) => record.inSync.length < replicationFactor).length;
  }
  return { partitions, withoutLeader, underReplicated };
}

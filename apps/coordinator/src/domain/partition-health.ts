import type { KeyspaceSpec, NodeRecord, PartitionRecord, VersionedRecord } from '@atoll/core-membership';

export interface PartitionHealth {
  readonly partitions: number;
  /** They have no record yet, or the process that leads them by their record is not registered (any more). */
  readonly withoutLeader: number;
  /** Fewer in-sync replicas on registered nodes than the replication factor asks for. */
  readonly underReplicated: number;
}

export interface HealthView {
  readonly keyspaces: Iterable<KeyspaceSpec>;
  readonly recordsOf: (keyspace: string) => readonly VersionedRecord[];
  /** Registered nodes. */
  readonly nodes: ReadonlyMap<string, NodeRecord>;
}

export function countHealth({ keyspaces, recordsOf, nodes }: HealthView): PartitionHealth {
  const isLed = ({ leader, leaderIncarnation }: PartitionRecord): boolean =>
    leader !== undefined && nodes.get(leader.node)?.incarnation === leaderIncarnation;
  let partitions = 0;
  let withoutLeader = 0;
  let underReplicated = 0;
  for (const { name, partitionCount, replicationFactor } of keyspaces) {
    const records = recordsOf(name);
    partitions += partitionCount;
    const missing = partitionCount - records.length;
    withoutLeader += missing + records.filter(({ record }) => !isLed(record)).length;
    underReplicated += missing + records.filter(({ record }) => record.inSync.filter(({ node }) => nodes.has(node)).length < replicationFactor).length;
  }
  return { partitions, withoutLeader, underReplicated };
}

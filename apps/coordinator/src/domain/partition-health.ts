import type { KeyspaceSpec, NodeRecord, PartitionRecord, VersionedRecord } from '@atoll/core-membership';

/** What is wrong with keyspaces whose place others have taken is not counted: nobody is served by them. */
export interface PartitionHealth {
  readonly partitions: number;
  /** They have no record yet, or the process that leads them by their record is not registered (any more). */
  readonly withoutLeader: number;
  /** Fewer in-sync replicas on registered nodes than the replication factor asks for. */
  readonly underReplicated: number;
  /** Fewer in-sync replicas on registered nodes than have to be: nothing is written to them. */
  readonly belowMinInSync: number;
  /** How many partitions have an in-sync set of 0, 1, 2 ... 7 replicas on registered nodes. */
  readonly bySetSize: readonly number[];
  /** By keyspace: the sum of its partitions' epochs. */
  readonly epochs: ReadonlyMap<string, number>;
}

/** A keyspace has at most so many replicas of a partition. */
const REPLICAS_MAX = 7;

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
  let belowMinInSync = 0;
  const bySetSize = Array.from({ length: REPLICAS_MAX + 1 }, () => 0);
  const epochs = new Map<string, number>();
  for (const { name, partitionCount, replicationFactor, minInSync, movedTo } of keyspaces) {
    const isServed = movedTo === undefined;
    const records = recordsOf(name);
    partitions += partitionCount;
    const missing = partitionCount - records.length;
    if (isServed) {
      withoutLeader += missing + records.filter(({ record }) => !isLed(record)).length;
      underReplicated += missing;
      belowMinInSync += missing;
    }
    bySetSize[0]! += missing;
    let epochSum = 0;
    for (const { record } of records) {
      const size = record.inSync.filter(({ node }) => nodes.has(node)).length;
      if (isServed && size < replicationFactor) underReplicated += 1;
      if (isServed && size < minInSync) belowMinInSync += 1;
      bySetSize[Math.min(size, REPLICAS_MAX)]! += 1;
      epochSum += record.epoch;
    }
    epochs.set(name, epochSum);
  }
  return { partitions, withoutLeader, underReplicated, belowMinInSync, bySetSize, epochs };
}

// What the stop of a node would take from partitions: asked before a node is restarted or drained.
import type { NodeId } from '@atoll/core-runtime';
import { nameOf } from './decisions/cluster-state.ts';
import type { KeyspaceSpec } from './keyspace-spec.ts';
import type { NodeRecord } from './node-record.ts';
import { membersOf, type PartitionRecord, type VersionedRecord } from './partition-record.ts';

export interface StopRiskView {
  readonly keyspaces: Iterable<KeyspaceSpec>;
  readonly recordsOf: (keyspace: string) => readonly VersionedRecord[];
  /** Registered nodes. */
  readonly nodes: ReadonlyMap<string, NodeRecord>;
}

export interface StopRisk {
  /** Partitions whose only in-sync replica on a registered node is on this one, by `nameOf`. */
  readonly lastInSync: readonly string[];
  /** Partitions that it holds, or may yet be given, and that have fewer replicas in sync than they could, by `nameOf`. */
  readonly underReplicated: readonly string[];
}

/**
 * Where one replica is all that there can be, by the replication factor or because no other node serves, nothing is at
 * risk that waiting could save: such partitions are in neither list.
 */
export function stopRiskOf(node: NodeId, { keyspaces, recordsOf, nodes }: StopRiskView): StopRisk {
  const serving = [...nodes.values()].filter(({ phase, weight }) => phase === 'SERVING' && weight > 0).length;
  const lastInSync: string[] = [];
  const underReplicated: string[] = [];
  for (const { name, id, replicationFactor } of keyspaces) {
    const wanted = Math.min(replicationFactor, serving);
    if (wanted < 2) continue;
    for (const { record } of recordsOf(name)) {
      if (record.keyspaceId !== id) continue;
      const inSync = record.inSync.filter((member) => nodes.has(member.node));
      if (inSync.length >= wanted) continue;
      if (inSync.length === 1 && inSync[0]!.node === node) lastInSync.push(nameOf(record));
      if (isConcerned(record, node, wanted)) underReplicated.push(nameOf(record));
    }
  }
  return { lastInSync, underReplicated };
}

/** A partition that lacks a member may be given to any node: to one that has just come back, above all. */
function isConcerned(record: PartitionRecord, node: NodeId, wanted: number): boolean {
  const members = membersOf(record);
  return members.length < wanted || members.some((member) => member.node === node);
}

/** The first few of them, and how many there are: for people. */
export function namedPartitions(names: readonly string[], shownMax = 5): string {
  const more = names.length - shownMax;
  return more > 0 ? `${names.slice(0, shownMax).join(', ')} and ${more} more` : names.join(', ');
}

// What the stop of a node would take from partitions: asked before a node is restarted or drained.
import type { NodeId } from '@atoll/core-runtime';
import { nameOf } from './decisions/cluster-state.ts';
import type { KeyspaceSpec } from './keyspace-spec.ts';
import type { NodeRecord } from './node-record.ts';
import { membersOf, type PartitionRecord, type VersionedRecord } from './partition-record.ts';
import { poolOf } from './pool.ts';

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
 * Where one replica is all that there can be, by the replication factor or because no other node of the pool serves,
 * nothing is at risk that waiting could save: such partitions are in neither list.
 */
export function stopRiskOf(node: NodeId, view: StopRiskView): StopRisk {
  const short = [...shortOf(view)];
  return {
    lastInSync: short.filter(({ inSync }) => inSync.length === 1 && inSync[0] === node).map(({ record }) => nameOf(record)),
    underReplicated: short.filter((each) => isConcerned(each, node, view)).map(({ record }) => nameOf(record)),
  };
}

/** `StopRisk.lastInSync` of every node that has some. */
export function lastInSyncByNode(view: StopRiskView): ReadonlyMap<NodeId, readonly string[]> {
  const last = new Map<NodeId, string[]>();
  for (const { record, inSync } of shortOf(view)) {
    if (inSync.length !== 1) continue;
    const names = last.get(inSync[0]!) ?? [];
    last.set(inSync[0]!, names);
    names.push(nameOf(record));
  }
  return last;
}

interface Short {
  readonly record: PartitionRecord;
  /** Of its keyspace. */
  readonly pool: string;
  /** Registered nodes with a replica in sync, fewer than `wanted`. */
  readonly inSync: readonly NodeId[];
  readonly wanted: number;
}

function* shortOf({ keyspaces, recordsOf, nodes }: StopRiskView): Generator<Short> {
  const serving = Map.groupBy([...nodes.values()].filter(({ phase, weight }) => phase === 'SERVING' && weight > 0), poolOf);
  for (const { name, id, replicationFactor, pool } of keyspaces) {
    const itsPool = poolOf({ pool });
    const wanted = Math.min(replicationFactor, serving.get(itsPool)?.length ?? 0);
    if (wanted < 2) continue;
    for (const { record } of recordsOf(name)) {
      const inSync = record.inSync.flatMap(({ node }) => (nodes.has(node) ? [node] : []));
      if (record.keyspaceId === id && inSync.length < wanted) yield { record, pool: itsPool, inSync, wanted };
    }
  }
}

/** A partition that lacks a member may be given to any node of its pool: to one that has just come back, above all. */
function isConcerned({ record, pool, wanted }: Short, node: NodeId, { nodes }: StopRiskView): boolean {
  const members = new Set(membersOf(record).map((member) => member.node));
  return members.has(node) || (members.size < wanted && poolOf(nodes.get(node) ?? {}) === pool);
}

/** The first few of them, and how many there are: for people. */
export function namesText(names: readonly string[], shownMax = 5): string {
  const more = names.length - shownMax;
  return more > 0 ? `${names.slice(0, shownMax).join(', ')} and ${more} more` : names.join(', ');
}

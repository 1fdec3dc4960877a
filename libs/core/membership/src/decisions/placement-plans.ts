import { planPlacement, type PlacementNode } from '@atoll/core-placement';
import type { NodeId } from '@atoll/core-runtime';
import type { KeyspaceSpec } from '../keyspace-spec.ts';
import { isSameMember, type PartitionRecord } from '../partition-record.ts';

interface Plan {
  /** Of everything that the plan rests on but the records, which change while it is carried out. */
  readonly fingerprint: string;
  /** By partition, the preferred leader first. */
  readonly targets: NodeId[][];
}

/**
 * Which nodes each partition should be on. A plan is made once for a set of nodes and then carried out to its
 * end: planned anew after each step, the choice between equals could turn back and forth. A coordinator that
 * takes over plans from the records as they are, learners counted as being there.
 */
export class PlacementPlans {
  readonly #plans = new Map<string, Plan>();

  /** `records` by partition; undefined where none is written yet. */
  targets(keyspace: KeyspaceSpec, nodes: readonly PlacementNode[], records: readonly (PartitionRecord | undefined)[]): readonly (readonly NodeId[])[] {
    const isFirst = records.includes(undefined);
    const fingerprint = JSON.stringify([keyspace.id, isFirst, nodes.map(({ id, zone, weight }) => `${id} ${zone} ${weight}`).toSorted()]);
    const known = this.#plans.get(keyspace.name);
    if (known?.fingerprint === fingerprint) return known.targets;
    const targets = makePlan(keyspace, nodes, records);
    this.#plans.set(keyspace.name, { fingerprint, targets });
    return targets;
  }

  /** The target of one partition, bent so that its leader may stay. One whose node is not `kept` is to go: its office is transferred first (R29). */
  pinned(keyspace: KeyspaceSpec, record: PartitionRecord, isKept: (node: NodeId) => boolean): readonly NodeId[] {
    const targets = this.#plans.get(keyspace.name)?.targets;
    const target = targets?.[record.partition];
    if (targets === undefined || target === undefined) return [];
    if (record.leader !== undefined && !isKept(record.leader.node)) return target;
    return (targets[record.partition] = pin(target, record));
  }

  /** From now on another node is to hold the partition. */
  substitute(keyspace: KeyspaceSpec, record: PartitionRecord, from: NodeId, to: NodeId): void {
    const targets = this.#plans.get(keyspace.name)?.targets;
    const target = targets?.[record.partition];
    if (targets !== undefined && target !== undefined) targets[record.partition] = target.map((node) => (node === from ? to : node));
  }

  /** A migration moves the partition: the plan is behind it, so that nothing is moved back when it is over. */
  follow(keyspace: KeyspaceSpec, record: PartitionRecord, target: readonly NodeId[]): void {
    const targets = this.#plans.get(keyspace.name)?.targets;
    if (targets !== undefined) targets[record.partition] = [...target];
  }

  /** Forgets keyspaces that are no more. */
  retain(keyspaces: ReadonlyMap<string, KeyspaceSpec>): void {
    for (const name of this.#plans.keys()) if (!keyspaces.has(name)) this.#plans.delete(name);
  }
}

function makePlan(keyspace: KeyspaceSpec, nodes: readonly PlacementNode[], records: readonly (PartitionRecord | undefined)[]): NodeId[][] {
  const { desired } = planPlacement({
    keyspace: keyspace.name,
    partitionCount: keyspace.partitionCount,
    replicationFactor: keyspace.replicationFactor,
    present: records.map((record) => (record === undefined ? [] : presentNodes(record))),
    nodes,
    keepLeaders: true,
  });
  return [...desired];
}

/** Where the partition is or is on its way to, the leader first. */
function presentNodes(record: PartitionRecord): NodeId[] {
  const staying = [...record.inSync, ...record.learners].filter(
    (member) => !record.leaving.some((leaving) => isSameMember(leaving, member)),
  );
  const nodes = staying.map((member) => member.node);
  return [...new Set(record.leader === undefined ? nodes : [record.leader.node, ...nodes])];
}

/**
 * For a leader that came into office after the plan was made, or whose node is no longer on the ring. The leader takes
 * the place of a node that holds the partition already, rather than that of a new one: so the new node gets its share
 * all the same.
 */
function pin(target: NodeId[], record: PartitionRecord): NodeId[] {
  const leader = record.leader?.node;
  if (leader === undefined || target.includes(leader) || target.length === 0) return target;
  const present = presentNodes(record);
  const yielding = target.find((node) => present.includes(node)) ?? target.at(-1);
  return [leader, ...target.filter((node) => node !== yielding)];
}

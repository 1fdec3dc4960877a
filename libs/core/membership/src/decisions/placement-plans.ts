import { planPlacement, type MoveReason, type PlacementNode, type PlacementPlan } from '@atoll/core-placement';
import type { NodeId } from '@atoll/core-runtime';
import type { KeyspaceSpec } from '../keyspace-spec.ts';
import { isSameMember, type PartitionRecord } from '../partition-record.ts';

interface Plan {
  /** Of everything that the plan rests on but the records, which change while it is carried out. */
  readonly fingerprint: string;
  /** By partition, the preferred leader first. */
  readonly targets: NodeId[][];
  /** By partition: moves that a migration is to make. Nothing moves before one has the partition. */
  readonly due: Map<number, DueMove>;
  /** By partition: those that a migration had when this was asked last. */
  readonly followed: Set<number>;
  /** Made while migrations had partitions, or not carried out as made: to be made anew when none has any. */
  isProvisional: boolean;
}

/** A move that is wanted, to be made by a migration. */
export interface DueMove {
  /** Nodes of the partition now and afterwards, the preferred leader first. */
  readonly before: readonly NodeId[];
  readonly after: readonly NodeId[];
  readonly reason: MoveReason;
}

/** Where a migration wants a partition: at this moment, and when it is over. */
export interface MigratingPlacement {
  readonly now: readonly NodeId[];
  readonly end: readonly NodeId[];
}

export interface PlacementPlansOptions {
  /** Replicas change their nodes by migrations (`due`) and not by the plan itself. Default false. */
  readonly movesByMigration?: boolean;
}

/**
 * Which nodes each partition should be on. A plan is made once for a set of nodes and then carried out to its
 * end: planned anew after each step, the choice between equals could turn back and forth. A coordinator that
 * takes over plans from the records as they are, learners counted as being there.
 */
export class PlacementPlans {
  readonly #plans = new Map<string, Plan>();
  /** By id of the keyspace: the nodes that it was planned for last, and whether it is being balanced over them. */
  readonly #balances = new Map<string, { readonly nodes: string; readonly isWanted: boolean }>();
  readonly #movesByMigration: boolean;

  constructor({ movesByMigration = false }: PlacementPlansOptions = {}) {
    this.#movesByMigration = movesByMigration;
  }

  /** `records` by partition; undefined where none is written yet. `migrating` by partition. */
  targets(
    keyspace: KeyspaceSpec,
    nodes: readonly PlacementNode[],
    records: readonly (PartitionRecord | undefined)[],
    migrating: ReadonlyMap<number, MigratingPlacement> = NONE,
  ): readonly (readonly NodeId[])[] {
    const isFirst = records.includes(undefined);
    const nodesText = JSON.stringify(nodes.map(({ id, zone, weight }) => `${id} ${zone} ${weight}`).toSorted());
    const fingerprint = `${keyspace.id} ${isFirst} ${nodesText}`;
    const known = this.#plans.get(keyspace.name);
    if (known !== undefined) settleFollowed(known, keyspace, records, migrating);
    if (known?.fingerprint === fingerprint && !(known.isProvisional && migrating.size === 0)) {
      if (isCarriedOut(known, migrating)) this.#setBalances(keyspace, nodesText, false);
      return known.targets;
    }
    const balances = !isFirst && this.#setBalances(keyspace, nodesText);
    const present = records.map((record, partition) => migrating.get(partition)?.end ?? (record === undefined ? [] : presentNodes(record)));
    const { desired, moves, drops } = makePlan(keyspace, nodes, present);
    const plan: Plan = { fingerprint, targets: desired, due: new Map(), followed: new Set(migrating.keys()), isProvisional: migrating.size > 0 };
    if (this.#movesByMigration && !isFirst) {
      const due = (partition: number, reason: MoveReason): void => {
        const before = present[partition]!;
        const after = nodesAfter(before, desired[partition]!, keyspace.replicationFactor);
        if (!plan.due.has(partition) && !isSameNodes(before, after)) plan.due.set(partition, { before, after, reason });
      };
      for (const { partition, reason } of moves) if (reason !== 'BALANCE' || balances) due(partition, reason);
      for (const { partition } of drops) due(partition, 'BALANCE');
      plan.targets.splice(0, desired.length, ...present.map((list) => [...list]));
    }
    this.#plans.set(keyspace.name, plan);
    return plan.targets;
  }

  /** Moves that a migration is to make, by partition. */
  due(keyspace: KeyspaceSpec): ReadonlyMap<number, DueMove> {
    return this.#plans.get(keyspace.name)?.due ?? NO_MOVES;
  }

  /** What is due is planned anew: it was tried and did not come about. `balances`: what was tried was for the sake of balance. */
  replan({ id, name }: KeyspaceSpec, { balances }: { readonly balances: boolean }): void {
    this.#plans.delete(name);
    const known = this.#balances.get(id);
    if (known !== undefined && balances) this.#balances.set(id, { ...known, isWanted: true });
  }

  /**
   * Whether replicas are to move for the sake of balance alone: since the nodes changed, and until they are balanced. As a
   * coordinator finds them when it is elected they are as somebody left them, and so they are when an operator's migration
   * ends: an operator's own moves are not taken back.
   */
  #setBalances({ id }: KeyspaceSpec, nodes: string, isStillWanted = true): boolean {
    const known = this.#balances.get(id);
    const isWanted = known !== undefined && (known.nodes !== nodes || (known.isWanted && isStillWanted));
    this.#balances.set(id, { nodes, isWanted });
    return isWanted;
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
    const plan = this.#plans.get(keyspace.name);
    const target = plan?.targets[record.partition];
    if (plan === undefined || target === undefined) return;
    const after = target.map((node) => (node === from ? to : node));
    if (!this.#movesByMigration) plan.targets[record.partition] = after;
    else if (!plan.due.has(record.partition)) plan.due.set(record.partition, { before: target, after, reason: 'LOST' });
  }

  /** A migration moves the partition: the plan is behind it, so that nothing is moved back when it is over. */
  follow(keyspace: KeyspaceSpec, record: PartitionRecord, { now, end }: MigratingPlacement): void {
    const plan = this.#plans.get(keyspace.name);
    if (plan === undefined) return;
    const due = plan.due.get(record.partition);
    if (due !== undefined && !isSameNodes(due.after, end)) plan.isProvisional = true;
    plan.due.delete(record.partition);
    plan.followed.add(record.partition);
    plan.targets[record.partition] = [...now];
  }

  /** Forgets keyspaces that are no more. */
  retain(keyspaces: ReadonlyMap<string, KeyspaceSpec>): void {
    for (const name of this.#plans.keys()) if (!keyspaces.has(name)) this.#plans.delete(name);
    const ids = new Set([...keyspaces.values()].map(({ id }) => id));
    for (const id of this.#balances.keys()) if (!ids.has(id)) this.#balances.delete(id);
  }
}

/** Where a partition is to be by a plan. With too few nodes for all replicas, nothing is won by giving up those that may come back. */
export const nodesAfter = (before: readonly NodeId[], desired: readonly NodeId[], replicationFactor: number): readonly NodeId[] =>
  [...new Set([...desired, ...before])].slice(0, Math.max(replicationFactor, desired.length));

/**
 * Partitions whose migration has ended stay where it left them: how it ended is seen in the record alone. Where that is
 * not as many replicas as there should be, the plan is made anew.
 */
function settleFollowed(plan: Plan, keyspace: KeyspaceSpec, records: readonly (PartitionRecord | undefined)[], migrating: ReadonlyMap<number, MigratingPlacement>): void {
  for (const partition of plan.followed) {
    const record = records[partition];
    if (migrating.has(partition) || record === undefined) continue;
    plan.followed.delete(partition);
    plan.targets[partition] = presentNodes(record);
    if (plan.targets[partition].length !== keyspace.replicationFactor) plan.isProvisional = true;
  }
}

/** Nothing that it wants is left to do, or under way. */
function isCarriedOut({ due, followed, isProvisional }: Plan, migrating: ReadonlyMap<number, MigratingPlacement>): boolean {
  return due.size === 0 && followed.size === 0 && !isProvisional && migrating.size === 0;
}

function makePlan(keyspace: KeyspaceSpec, nodes: readonly PlacementNode[], present: readonly (readonly NodeId[])[]): PlacementPlan {
  return planPlacement({
    keyspace: keyspace.name,
    partitionCount: keyspace.partitionCount,
    replicationFactor: keyspace.replicationFactor,
    present,
    nodes,
    keepLeaders: true,
  });
}

const NONE: ReadonlyMap<number, MigratingPlacement> = new Map();
const NO_MOVES: ReadonlyMap<number, DueMove> = new Map();
const isSameNodes = (a: readonly NodeId[], b: readonly NodeId[]): boolean => a.length === b.length && a.every((node) => b.includes(node));

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

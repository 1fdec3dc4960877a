// Random clusters that go through joins, losses, drains and changes of weight. The seed stands in the name
// of each test: run one alone with `-t "seed 7 "`.
import { SeededRandom, randomBelow, toNodeId } from '@atoll/core-runtime';
import type { NodeId } from '@atoll/core-runtime';
import { leaderShares, replicaShares, toLoadBounds } from './fair-share.ts';
import { planPlacement } from './plan-placement.ts';
import type { PlacementPlan } from './plan-placement.ts';
import type { PlacementNode } from './ring.ts';
import { createZoneRule } from './zone-rule.ts';

const WEIGHTS = [0.5, 1, 1, 1, 2, 3];
const EVENTS_PER_CLUSTER = 8;

interface World {
  nodes: PlacementNode[];
  present: NodeId[][];
  readonly partitionCount: number;
  readonly replicationFactor: number;
}

class RandomCluster {
  readonly #random: SeededRandom;
  readonly #zones: number;
  #joined = 0;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    this.#zones = 1 + this.below(5);
  }

  below = (bound: number) => randomBelow(this.#random, bound);
  pick = <T>(values: readonly T[]): T => values[this.below(values.length)]!;

  node(): PlacementNode {
    this.#joined += 1;
    return { id: toNodeId(`n${this.#joined}`), zone: `z${this.below(this.#zones)}`, weight: this.pick(WEIGHTS) };
  }

  world(): World {
    const nodes = Array.from({ length: 1 + this.below(12) }, () => this.node());
    return { nodes, present: [], partitionCount: 2 ** this.below(9), replicationFactor: 1 + this.below(4) };
  }

  /** A join, a loss, a drain or a new weight; sometimes two at once. */
  change(nodes: readonly PlacementNode[]): PlacementNode[] {
    const next = [...nodes];
    for (let events = 1 + this.below(2); events > 0; events -= 1) {
      const kind = this.below(4);
      const at = this.below(next.length);
      if (kind === 0 || next.length < 2) next.push(this.node());
      else if (kind === 1) next.splice(at, 1);
      else next[at] = { ...next[at]!, weight: kind === 2 ? 0 : this.pick(WEIGHTS) };
    }
    return next;
  }
}

const planOf = (world: World) => planPlacement({ ...world, keyspace: 'default' });

/** Replicas on usable nodes only: those that the zone rule and the loads speak of. */
function usableLists({ nodes }: World, { desired }: PlacementPlan): number[][] {
  const usable = new Map(nodes.map(({ id }, index) => [id, index]));
  return desired.map((list) => list.map((id) => usable.get(id)!).filter((node) => nodes[node]!.weight > 0));
}

// Each check returns what is wrong; empty when nothing is.

function zoneProblems({ nodes, replicationFactor }: World, lists: number[][]): string[] {
  const sizes = Map.groupBy(nodes.filter(({ weight }) => weight > 0), ({ zone }) => zone);
  const usable = [...sizes.values()].reduce((sum, members) => sum + members.length, 0);
  const replicas = Math.min(replicationFactor, usable);
  // The least that the fullest zone of a partition must hold.
  let most = 0;
  while ([...sizes.values()].reduce((sum, members) => sum + Math.min(members.length, most), 0) < replicas) most += 1;
  return lists.flatMap((list, partition) => {
    const zones = [...Map.groupBy(list, (node) => nodes[node]!.zone).values()].map((members) => members.length);
    const ok = list.length === replicas && new Set(list).size === replicas && Math.max(0, ...zones) === most && zones.length === Math.min(replicas, sizes.size);
    return ok ? [] : [`partition ${partition} on ${list.join()}: zones ${zones.join()}, at most ${most} each`];
  });
}

function loadProblems({ nodes, partitionCount, replicationFactor }: World, lists: number[][]): string[] {
  const shares = replicaShares(nodes, createZoneRule(nodes, replicationFactor), partitionCount);
  return nodes.flatMap(({ id }, node) => {
    const load = lists.filter((list) => list.includes(node)).length;
    const { low, cap } = toLoadBounds(shares[node]!, partitionCount);
    return load < low || load > cap ? [`${id} holds ${load}, not ${low} to ${cap}`] : [];
  });
}

/** A leader above its bound is permitted only where no chain of changes leads to a node with room. */
function leaderProblems({ nodes, partitionCount }: World, lists: number[][]): string[] {
  if (lists[0]!.length === 0) return [];
  const leads = nodes.map((_, node) => lists.filter((list) => list[0] === node).length);
  const caps = leaderShares(nodes, partitionCount).map((share) => toLoadBounds(share, partitionCount).cap);
  return nodes.flatMap(({ id }, start) => {
    if (leads[start]! <= caps[start]!) return [];
    const reached = new Set([start]);
    for (const node of reached) for (const list of lists) if (list[0] === node) for (const next of list) reached.add(next);
    const hasRoom = [...reached].some((node) => leads[node]! < caps[node]!);
    return hasRoom ? [`${id} leads ${leads[start]}, more than ${caps[start]}`] : [];
  });
}

function moveProblems({ present, nodes }: World, { desired, moves, drops }: PlacementPlan): string[] {
  const lists = desired.map((_, partition) => new Set(present[partition]));
  const known = new Set(nodes.map(({ id }) => id));
  const problems: string[] = [];
  for (const { partition, from, to, reason } of moves) {
    if (lists[partition]!.has(to)) problems.push(`${partition} is on ${to} already`);
    lists[partition]!.add(to);
    if (from !== undefined && !lists[partition]!.delete(from)) problems.push(`${partition} is not on ${from}`);
    if ((reason === 'LOST') !== (from !== undefined && !known.has(from))) problems.push(`${partition} leaves ${from} as ${reason}`);
  }
  for (const { partition, from } of drops) if (!lists[partition]!.delete(from)) problems.push(`${partition} is not on ${from}`);
  for (const [partition, list] of desired.entries())
    if (lists[partition]!.size !== list.length || !list.every((node) => lists[partition]!.has(node))) problems.push(`the moves of ${partition} lead elsewhere`);
  return problems;
}

describe('random clusters', () => {
  it.each(Array.from({ length: 100 }, (_, index) => index + 1))('seed %i keeps zones, loads, leaders and what need not move', (seed) => {
    const cluster = new RandomCluster(seed);
    let world = cluster.world();
    for (let event = 0; event <= EVENTS_PER_CLUSTER; event += 1) {
      const plan = planOf(world);
      const lists = usableLists(world, plan);
      expect({
        event,
        problems: [...zoneProblems(world, lists), ...loadProblems(world, lists), ...leaderProblems(world, lists), ...moveProblems(world, plan)],
      }).toEqual({ event, problems: [] });
      expect(planOf({ ...world, nodes: world.nodes.toReversed() })).toEqual(plan);
      expect(planOf({ ...world, present: plan.desired })).toEqual({ desired: plan.desired, moves: [], drops: [] });
      world = { ...world, present: plan.desired, nodes: cluster.change(world.nodes) };
    }
  });
});

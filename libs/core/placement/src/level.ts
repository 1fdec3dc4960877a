// Evens out a load by moving single items between nodes, and no more of them than it must. It serves
// replicas and leaderships alike: both are items that sit on one node and may go to some others.
//
//   relieve: a node above its cap gives away, straight to the relatively emptiest node that can take it,
//            else along the shortest chain a -> b -> c whose end has room (an augmenting path).
//   raise:   a node below its low mark takes from the relatively fullest, until it has its share.
//
// Nodes between the marks are left alone; a node that joins starts at 0 and so is raised to its share.
// Where no chain exists the bound cannot be met by any set of moves: augmenting paths in the exchange graph
// of a matroid intersection (Schrijver, "Combinatorial Optimization", section 41.2).
import type { LoadBounds } from './fair-share.ts';

/** The items, and who may have them. Nodes are indices; an item is a number, here always a partition. */
export interface Board {
  /** Items on each node; `move` keeps it up to date. */
  readonly load: readonly number[];
  readonly bounds: readonly LoadBounds[];
  /** The item on `from` that may best go to `to`, if any may. */
  findMove(from: number, to: number): number | undefined;
  move(item: number, from: number, to: number): void;
}

/** A chain can fall apart when two of its steps touch one partition; the next attempt starts from there. */
const ATTEMPTS_MAX = 4;

export function level(board: Board): void {
  relieve(board);
  raise(board);
}

function relieve(board: Board): void {
  const { load, bounds } = board;
  const failures = load.map(() => 0);
  const hasRoom = (node: number) => load[node]! < bounds[node]!.cap;
  for (;;) {
    const from = best(load.length, (node) => (failures[node]! < ATTEMPTS_MAX ? load[node]! - bounds[node]!.cap : 0));
    if (from === undefined) return;
    const takers = () => nodesBy(load.length, hasRoom, (node) => (load[node]! + 1) / bounds[node]!.share);
    moveWhile(() => load[from]! > bounds[from]!.cap, takers, (to) => moveOne(board, from, to));
    if (load[from]! <= bounds[from]!.cap) continue;
    const path = shortestPath(load.length, from, (a, b) => board.findMove(a, b) !== undefined, hasRoom);
    if (path === undefined) failures[from] = ATTEMPTS_MAX;
    else if (!moveAlong(board, path)) failures[from]! += 1;
  }
}

function raise(board: Board): void {
  const { load, bounds } = board;
  const isLow = (node: number) => load[node]! < bounds[node]!.low;
  for (const to of nodesBy(load.length, isLow, (node) => load[node]! / bounds[node]!.share)) {
    const hasMore = (node: number) => node !== to && load[node]! > bounds[node]!.target;
    const hasSome = (node: number) => node !== to && load[node]! > bounds[node]!.low;
    const canGive = (a: number, b: number) => board.findMove(b, a) !== undefined;
    const givers = () => nodesBy(load.length, hasMore, (node) => -load[node]! / bounds[node]!.share);
    for (let failures = 0; failures < ATTEMPTS_MAX; ) {
      moveWhile(() => load[to]! < bounds[to]!.target, givers, (from) => moveOne(board, from, to));
      if (!isLow(to)) break;
      const path = shortestPath(load.length, to, canGive, hasMore) ?? shortestPath(load.length, to, canGive, hasSome);
      if (path === undefined) break;
      if (!moveAlong(board, path.reverse())) failures += 1;
    }
  }
}

/**
 * Moves single items to or from one node, each time with the first of `partners` that can, until `isNeeded`
 * is false or none can. A partner that cannot is not asked again: moves between the node and others never
 * make possible what was not.
 */
function moveWhile(isNeeded: () => boolean, partners: () => number[], tryMove: (partner: number) => boolean): void {
  const refused = new Set<number>();
  const tryPartner = (partner: number) => {
    if (refused.has(partner)) return false;
    const moved = tryMove(partner);
    if (!moved) refused.add(partner);
    return moved;
  };
  while (isNeeded() && partners().some(tryPartner));
}

function moveOne(board: Board, from: number, to: number): boolean {
  const item = board.findMove(from, to);
  if (item === undefined) return false;
  board.move(item, from, to);
  return true;
}

/** Moves one item along each step of the path, the last step first, so that no node rises above its cap. */
function moveAlong(board: Board, path: readonly number[]): boolean {
  for (let step = path.length - 2; step >= 0; step -= 1) if (!moveOne(board, path[step]!, path[step + 1]!)) return false;
  return true;
}

/** Breadth first from `start` over `isEdge` to the nearest node that `isGoal`. */
function shortestPath(
  count: number,
  start: number,
  isEdge: (from: number, to: number) => boolean,
  isGoal: (node: number) => boolean,
): number[] | undefined {
  const previous = new Map<number, number>([[start, start]]);
  const queue = [start];
  for (const node of queue) {
    for (let next = 0; next < count; next += 1) {
      if (previous.has(next) || !isEdge(node, next)) continue;
      previous.set(next, node);
      queue.push(next);
      if (!isGoal(next)) continue;
      const path = [next];
      while (path[0] !== start) path.unshift(previous.get(path[0]!)!);
      return path;
    }
  }
  return undefined;
}

/** The node of highest value above 0, the lowest index among equals. */
function best(count: number, valueOf: (node: number) => number): number | undefined {
  let found: number | undefined;
  let highest = 0;
  for (let node = 0; node < count; node += 1) {
    const value = valueOf(node);
    if (value <= highest) continue;
    highest = value;
    found = node;
  }
  return found;
}

function nodesBy(count: number, accepts: (node: number) => boolean, orderOf: (node: number) => number): number[] {
  const found: { node: number; order: number }[] = [];
  for (let node = 0; node < count; node += 1) if (accepts(node)) found.push({ node, order: orderOf(node) });
  return found.sort((a, b) => a.order - b.order || a.node - b.node).map((entry) => entry.node);
}

// A consistent-hash ring with virtual nodes. Every node owns points on a circle, in number proportional to
// its weight; a partition has a point too and prefers the nodes in the order in which their points follow
// its own. A node that comes or goes changes that order only around its own points.
// Karger et al., "Consistent Hashing and Random Trees" (STOC 1997), section 4.
import { hash64 } from '@atoll/core-runtime';
import type { Hash64, NodeId } from '@atoll/core-runtime';
import { invalidArgument } from '@atoll/core-errors';

/** A node as placement sees it. */
export interface PlacementNode {
  readonly id: NodeId;
  /** Failure domain: replicas of one partition avoid sharing it. Nodes without zones all carry the same text. */
  readonly zone: string;
  /** Share of the load relative to other nodes, 0 to 100. 0 means draining: holds nothing if others can. */
  readonly weight: number;
}

/** Immutable. Made by `buildRing`. */
export interface Ring {
  /** In order of id; every other number of a node is an index into this. */
  readonly nodes: readonly PlacementNode[];
  /** Ring positions, ascending, each below 2^41. */
  readonly positions: Float64Array;
  /** Index of the node that owns the position at the same place. */
  readonly owners: Uint16Array;
}

export const VIRTUAL_NODES_DEFAULT = 128;
export const NODE_WEIGHT_MAX = 100;

const VIRTUAL_NODES_MAX = 1024;
const NODE_SEED = 0x61746f6c6c5f726en; // "atoll_rn"
const PARTITION_SEED = 0x61746f6c6c5f7270n; // "atoll_rp"
const encoder = new TextEncoder();

// A point of the ring is one number, so that sorting needs no comparison function: 41 bits of position above
// 12 bits of owner, the 53 bits that a number holds exactly. Points at one position are in order of node id.
const NODES_MAX = 2 ** 12;
const CIRCLE = 2 ** 41;
const toPosition = (hash: Hash64): number => hash.high * 2 ** 9 + (hash.low >>> 23);

/** Hashes `name`, a zero byte and a little-endian 32-bit number, for many numbers. */
function createNumberedHash(name: string, seed: bigint): (number: number) => number {
  const text = encoder.encode(name);
  const bytes = new Uint8Array(text.length + 5);
  bytes.set(text);
  const view = new DataView(bytes.buffer);
  return (number) => {
    view.setUint32(text.length + 1, number, true);
    return toPosition(hash64(bytes, seed));
  };
}

/** Throws INVALID_ARGUMENT for a repeated id, a weight that is not 0 to 100, or over 4096 nodes. Returns them in order of id. */
export function checkNodes(nodes: readonly PlacementNode[]): PlacementNode[] {
  if (nodes.length > NODES_MAX) throw invalidArgument('nodes', `must be at most ${NODES_MAX}, are ${nodes.length}`);
  const sorted = nodes.toSorted((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
  for (const [index, node] of sorted.entries()) {
    if (sorted[index + 1]?.id === node.id) throw invalidArgument('nodes', `${node.id} stands there twice`);
    if (!(node.weight >= 0 && node.weight <= NODE_WEIGHT_MAX))
      throw invalidArgument('weight', `of node ${node.id} must be from 0 to ${NODE_WEIGHT_MAX}, is ${node.weight}`);
  }
  return sorted;
}

/**
 * The ring of `nodes`, each with `virtualNodes` x weight points (at least one; none at weight 0). More points
 * make the ring itself more even and slower to build. The order of `nodes` does not matter.
 */
export function buildRing(nodes: readonly PlacementNode[], options: { virtualNodes?: number } = {}): Ring {
  const virtualNodes = options.virtualNodes ?? VIRTUAL_NODES_DEFAULT;
  if (!Number.isInteger(virtualNodes) || virtualNodes < 1 || virtualNodes > VIRTUAL_NODES_MAX)
    throw invalidArgument('virtual_nodes', `must be from 1 to ${VIRTUAL_NODES_MAX}, is ${virtualNodes}`);
  const sorted = checkNodes(nodes);
  const points: number[] = [];
  for (const [owner, node] of sorted.entries()) {
    const count = node.weight === 0 ? 0 : Math.max(1, Math.round(virtualNodes * node.weight));
    const positionOf = createNumberedHash(node.id, NODE_SEED);
    for (let number = 0; number < count; number += 1) points.push(positionOf(number) * NODES_MAX + owner);
  }
  const inOrder = Float64Array.from(points).sort();
  return {
    nodes: sorted,
    positions: inOrder.map((point) => Math.floor(point / NODES_MAX)),
    owners: Uint16Array.from(inOrder, (point) => point % NODES_MAX),
  };
}

/** Where the partitions of a keyspace start on the ring. The name is hashed in, so keyspaces spread apart. */
export function partitionPositions(keyspace: string, partitionCount: number): Float64Array {
  const positionOf = createNumberedHash(keyspace, PARTITION_SEED);
  return Float64Array.from({ length: partitionCount }, (_, partition) => positionOf(partition));
}

/** Nodes in the order in which their points follow `position`, each once. */
export function* nodesFrom(ring: Ring, position: number): Generator<number, void> {
  const { positions, owners, nodes } = ring;
  const seen = new Uint8Array(nodes.length);
  const first = firstAtOrAfter(positions, position);
  for (let step = 0; step < positions.length; step += 1) {
    const owner = owners[(first + step) % positions.length]!;
    if (seen[owner] === 1) continue;
    seen[owner] = 1;
    yield owner;
  }
}

/** How far along the ring a node's next point is from each of `starts`; the smaller, the more preferred. */
export function distancesTo(ring: Ring, node: number, starts: Float64Array): Float64Array {
  const own = ring.positions.filter((_, index) => ring.owners[index] === node);
  if (own.length === 0) return new Float64Array(starts.length).fill(CIRCLE);
  return starts.map((start) => {
    const next = firstAtOrAfter(own, start);
    return next < own.length ? own[next]! - start : own[0]! + CIRCLE - start;
  });
}

function firstAtOrAfter(sorted: Float64Array, position: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < position) low = middle + 1;
    else high = middle;
  }
  return low;
}

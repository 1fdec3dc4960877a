// Whether the nodes together have room for what is to be written, wherever its partitions will lie.
import { FILL_SHARE_MAX, type NodeMemory } from './capacity.ts';

/** Nodes that a refusal names at most. */
const NODES_NAMED_MAX = 8;

export interface RoomAsk {
  /** What one replica of all of it takes. */
  readonly bytes: number;
  readonly replicationFactor: number;
  /** By node; those that did not answer are missing. */
  readonly memory: ReadonlyMap<string, NodeMemory>;
}

export interface RoomLack {
  readonly neededBytes: number;
  readonly freeBytes: number;
  /** Both numbers, and what each node has. */
  readonly text: string;
}

export interface FreeRoom {
  readonly nodes: number;
  readonly freeBytes: number;
  /** Behind "the": `1500 bytes that 3 nodes have free below 95 %`. */
  readonly text: string;
  /** What each node has: `a 500, b 1000, c 0`. */
  readonly perNode: string;
}

/** What nodes may still be filled with. Undefined: one has no limit, or nothing is known of any. */
export function freeRoom(memory: ReadonlyMap<string, NodeMemory>): FreeRoom | undefined {
  // They answer in any order.
  const nodes = [...memory].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, { usedBytes, limitBytes }]) => ({ id, limitBytes, freeBytes: Math.max(0, Math.floor(limitBytes * FILL_SHARE_MAX) - usedBytes) }));
  if (nodes.length === 0 || nodes.some(({ limitBytes }) => limitBytes === 0)) return undefined;
  const freeBytes = nodes.reduce((sum, node) => sum + node.freeBytes, 0);
  const named = nodes.slice(0, NODES_NAMED_MAX).map((node) => `${node.id} ${node.freeBytes}`);
  return {
    nodes: nodes.length,
    freeBytes,
    text: `${freeBytes} bytes that ${nodes.length} nodes have free below ${FILL_SHARE_MAX * 100} %`,
    perNode: [...named, ...(nodes.length > NODES_NAMED_MAX ? ['...'] : [])].join(', '),
  };
}

/** Undefined: there is room, or a node without a limit, or nothing is known of any. */
export function lackOfRoom({ bytes, replicationFactor, memory }: RoomAsk): RoomLack | undefined {
  const free = freeRoom(memory);
  if (free === undefined) return undefined;
  const replicas = Math.min(replicationFactor, free.nodes);
  const neededBytes = bytes * replicas;
  if (neededBytes <= free.freeBytes) return undefined;
  const text = `${replicas} replicas of ${bytes} bytes do not fit into the ${free.text}: ${neededBytes} are needed, and there are ${free.perNode}`;
  return { neededBytes, freeBytes: free.freeBytes, text };
}

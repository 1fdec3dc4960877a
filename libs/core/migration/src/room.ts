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

/** Undefined: there is room, or a node without a limit, or nothing is known of any. */
export function lackOfRoom({ bytes, replicationFactor, memory }: RoomAsk): RoomLack | undefined {
  // They answer in any order.
  const nodes = [...memory].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, { usedBytes, limitBytes }]) => ({ id, limitBytes, freeBytes: Math.max(0, Math.floor(limitBytes * FILL_SHARE_MAX) - usedBytes) }));
  if (nodes.length === 0 || nodes.some(({ limitBytes }) => limitBytes === 0)) return undefined;
  const replicas = Math.min(replicationFactor, nodes.length);
  const neededBytes = bytes * replicas;
  const freeBytes = nodes.reduce((sum, node) => sum + node.freeBytes, 0);
  if (neededBytes <= freeBytes) return undefined;
  const named = nodes.slice(0, NODES_NAMED_MAX).map((node) => `${node.id} ${node.freeBytes}`);
  const perNode = [...named, ...(nodes.length > NODES_NAMED_MAX ? ['...'] : [])].join(', ');
  return {
    neededBytes,
    freeBytes,
    text: `${replicas} replicas of ${bytes} bytes do not fit into the ${freeBytes} bytes that ${nodes.length} nodes have free below ${FILL_SHARE_MAX * 100} %: ${neededBytes} are needed, and there are ${perNode}`,
  };
}

// Whether the targets of a migration have room for it, before anything is copied.
import type { NodeId } from '@atoll/core-runtime';
import { targetsOf, type MigrationOperator } from './operator.ts';

/** What a node may use and uses, in bytes; a limit of 0 means none. */
export interface NodeMemory {
  readonly usedBytes: number;
  readonly limitBytes: number;
}

/** Part of a node's memory that a migration may fill: the rest is for what clients write meanwhile. */
export const FILL_SHARE_MAX = 0.95;

export interface Shortage {
  readonly node: NodeId;
  readonly neededBytes: number;
  readonly freeBytes: number;
}

/** Targets that would be filled beyond their share. Nodes of which nothing is known count as having room. `sizeOf`: memory that a copy takes. */
export function findShortages<T extends Pick<MigrationOperator, 'before' | 'after'>>(
  operators: readonly T[],
  sizeOf: (operator: T) => number,
  memoryOf: (node: NodeId) => NodeMemory | undefined,
): readonly Shortage[] {
  const needed = new Map<NodeId, number>();
  for (const operator of operators) {
    const bytes = sizeOf(operator);
    for (const node of targetsOf(operator)) needed.set(node, (needed.get(node) ?? 0) + bytes);
  }
  const shortages: Shortage[] = [];
  for (const [node, neededBytes] of needed) {
    const memory = memoryOf(node);
    if (memory === undefined || memory.limitBytes === 0) continue;
    const freeBytes = Math.max(0, Math.floor(FILL_SHARE_MAX * memory.limitBytes) - memory.usedBytes);
    if (neededBytes > freeBytes) shortages.push({ node, neededBytes, freeBytes });
  }
  return shortages;
}

export interface FittingOperators<T> {
  readonly fitting: readonly T[];
  /** Each with the shortage of a target that would be filled too far by it. */
  readonly unfit: readonly { readonly operator: T; readonly shortage: Shortage }[];
  /** Of all together. */
  readonly shortages: readonly Shortage[];
}

/** In the order given, those for which every target still has room behind the ones before; and the rest. */
export function takeWhatFits<T extends Pick<MigrationOperator, 'before' | 'after'>>(
  operators: readonly T[],
  sizeOf: (operator: T) => number,
  memoryOf: (node: NodeId) => NodeMemory | undefined,
): FittingOperators<T> {
  const shortages = findShortages(operators, sizeOf, memoryOf);
  const short = new Map(shortages.map((shortage) => [shortage.node, shortage]));
  const taken = new Map<NodeId, number>();
  const fitting: T[] = [];
  const unfit: { readonly operator: T; readonly shortage: Shortage }[] = [];
  for (const operator of operators) {
    const bytes = sizeOf(operator);
    const takenWith = (node: NodeId): number => (taken.get(node) ?? 0) + bytes;
    const concerned = targetsOf(operator).flatMap((node) => short.get(node) ?? []);
    const shortage = concerned.find(({ node, freeBytes }) => takenWith(node) > freeBytes);
    if (shortage !== undefined) unfit.push({ operator, shortage });
    else {
      for (const { node } of concerned) taken.set(node, takenWith(node));
      fitting.push(operator);
    }
  }
  return { fitting, unfit, shortages };
}

export const shortageText = ({ node, neededBytes, freeBytes }: Shortage): string => `${node} has room for ${freeBytes} bytes and would get ${neededBytes}`;

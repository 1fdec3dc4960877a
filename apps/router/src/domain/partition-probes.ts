import type { RoutedOperation } from './routed-operation.ts';

/**
 * While a partition is in trouble one operation at a time tries for all that wait for it: a hand-over with hundreds
 * of operations under way costs its nodes, and the retry budget, a few tries instead of hundreds.
 */
export class PartitionProbes {
  readonly #probes = new Map<string, RoutedOperation>();

  /** Whether another operation tries for this one's partition at the moment. */
  isTaken(operation: RoutedOperation): boolean {
    return this.#probes.has(keyOf(operation));
  }

  begin(operation: RoutedOperation): void {
    this.#probes.set(keyOf(operation), operation);
  }

  /** Answers whether this operation tried for others, and does so no more. */
  end(operation: RoutedOperation): boolean {
    if (this.#probes.size === 0) return false;
    const key = keyOf(operation);
    return this.#probes.get(key) === operation && this.#probes.delete(key);
  }
}

export const isSamePartition = (a: RoutedOperation, b: RoutedOperation): boolean => a.partition === b.partition && a.keyspace.spec.id === b.keyspace.spec.id;

const keyOf = ({ keyspace, partition }: RoutedOperation): string => `${keyspace.spec.id}/${partition}`;

import type { NodeId } from '@atoll/core-runtime';
import type { VersionedRecord } from '../partition-record.ts';

/** How many partitions each node leads, kept up to date while a round of decisions moves offices. */
export class LeaderCounts {
  readonly #counts = new Map<NodeId, number>();

  /** As the records have it. */
  static count(partitions: Iterable<readonly VersionedRecord[]>): LeaderCounts {
    const counts = new LeaderCounts();
    for (const records of partitions) for (const { record } of records) counts.move(undefined, record.leader?.node);
    return counts;
  }

  of(node: NodeId): number {
    return this.#counts.get(node) ?? 0;
  }

  move(from: NodeId | undefined, to: NodeId | undefined): void {
    if (from !== undefined) this.#counts.set(from, Math.max(0, this.of(from) - 1));
    if (to !== undefined) this.#counts.set(to, this.of(to) + 1);
  }
}

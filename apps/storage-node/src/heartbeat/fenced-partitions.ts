import type { VersionedRecord } from '@atoll/core-membership';

interface Fenced {
  readonly keyspace: string;
  readonly partition: number;
  readonly epoch: number;
  readonly modRevision: number;
}

/**
 * Partitions whose newest record says FENCING: their former members are to confirm that they stopped (R15). A process
 * that has seen such a record, and does not lead the partition, will never again lead or serve an epoch up to it.
 */
export class FencedPartitions {
  /** At most one per partition of the cluster. */
  readonly #fenced = new Map<string, Fenced>();

  onRecord({ record, modRevision }: VersionedRecord): void {
    const { keyspace, partition, epoch, state } = record;
    const name = `${keyspace}/${partition}`;
    const before = this.#fenced.get(name);
    if (before !== undefined && before.modRevision > modRevision) return;
    if (state === 'FENCING') this.#fenced.set(name, { keyspace, partition, epoch, modRevision });
    else this.#fenced.delete(name);
  }

  onGone(keyspace: string, partition: number): void {
    this.#fenced.delete(`${keyspace}/${partition}`);
  }

  *list(): Iterable<{ readonly keyspace: string; readonly partition: number; readonly epoch: number }> {
    for (const { keyspace, partition, epoch } of this.#fenced.values()) yield { keyspace, partition, epoch };
  }
}

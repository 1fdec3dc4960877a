import type { VersionedRecord } from '@atoll/core-membership';

/** The partition records of all keyspaces. A change costs the same however many there are. */
export class PartitionMap {
  readonly #keyspaces = new Map<string, { readonly byPartition: Map<number, VersionedRecord>; sorted: readonly VersionedRecord[] | undefined }>();

  get(keyspace: string, partition: number): VersionedRecord | undefined {
    return this.#keyspaces.get(keyspace)?.byPartition.get(partition);
  }

  /** In order of partition. Sorted at the first call after a change; the array itself never changes. */
  all(keyspace: string): readonly VersionedRecord[] {
    const records = this.#keyspaces.get(keyspace);
    if (records === undefined) return [];
    records.sorted ??= [...records.byPartition.values()].sort((a, b) => a.record.partition - b.record.partition);
    return records.sorted;
  }

  put(keyspace: string, partition: number, record: VersionedRecord): void {
    let records = this.#keyspaces.get(keyspace);
    if (records === undefined) {
      records = { byPartition: new Map(), sorted: undefined };
      this.#keyspaces.set(keyspace, records);
    }
    records.byPartition.set(partition, record);
    records.sorted = undefined;
  }

  delete(keyspace: string, partition: number): void {
    const records = this.#keyspaces.get(keyspace);
    if (records === undefined) return;
    records.byPartition.delete(partition);
    records.sorted = undefined;
    if (records.byPartition.size === 0) this.#keyspaces.delete(keyspace);
  }
}

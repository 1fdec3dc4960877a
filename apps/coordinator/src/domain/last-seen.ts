import { membersOf, type ClusterState } from '@atoll/core-membership';

/** What a replica held when its node last said so. */
export interface SeenReplica {
  readonly epoch: number;
  readonly seq: number;
  readonly entries: number;
}

/**
 * What every named replica held when its node was last asked, also of nodes that are away since: what may be lost.
 * Bounded by the replicas that records name.
 */
export class LastSeen {
  #seen = new Map<string, SeenReplica>();

  take({ partitions, inventories }: Pick<ClusterState, 'partitions' | 'inventories'>): void {
    const former = this.#seen;
    const held = new Map<string, SeenReplica>();
    for (const { replicas } of inventories.values()) {
      for (const { replica, end, entries } of replicas.values()) if (end !== undefined) held.set(replica, { ...end, entries: entries ?? 0 });
    }
    this.#seen = new Map();
    for (const records of partitions.values()) {
      for (const { record } of records) {
        for (const { replica } of membersOf(record)) {
          const seen = held.get(replica) ?? former.get(replica);
          if (seen !== undefined) this.#seen.set(replica, seen);
        }
      }
    }
  }

  of(replica: string): SeenReplica | undefined {
    return this.#seen.get(replica);
  }
}

// Redundancy is restored when a replica has been out of sync for too long, whatever the state of its node (R31).
import type { NodeId } from '@atoll/core-runtime';
import type { KeyspaceSpec } from '../keyspace-spec.ts';
import type { PartitionRecord, VersionedRecord } from '../partition-record.ts';
import { poolOf } from '../pool.ts';
import { nameOf, type ClusterState } from './cluster-state.ts';
import { isUsable } from './member-status.ts';

/**
 * Since when each replica of a partition with too few in sync has been a learner: by the monotonic clock of one
 * coordinator, counted from when it first saw it. A partition that has all its replicas in sync elsewhere, as during a
 * rebalance, counts for nothing.
 */
export class RedundancyClock {
  readonly #afterMs: number;
  #sinceMs = new Map<string, Map<string, number>>();

  constructor(options: { readonly reReplicateAfterMs: number }) {
    this.#afterMs = options.reReplicateAfterMs;
  }

  /** By `partitionName`: nodes whose replica is overdue. */
  take(keyspaces: ReadonlyMap<string, KeyspaceSpec>, partitions: ReadonlyMap<string, readonly VersionedRecord[]>, nowMs: number): ReadonlyMap<string, ReadonlySet<string>> {
    const former = this.#sinceMs;
    const overdue = new Map<string, ReadonlySet<string>>();
    this.#sinceMs = new Map();
    for (const [keyspace, records] of partitions) {
      const spec = keyspaces.get(keyspace);
      for (const { record } of spec === undefined ? [] : records) {
        if (record.learners.length === 0 || record.inSync.length >= spec!.replicationFactor) continue;
        const name = nameOf(record);
        const since = new Map(record.learners.map(({ node }) => [node, former.get(name)?.get(node) ?? nowMs]));
        this.#sinceMs.set(name, since);
        const late = [...since].filter(([, sinceMs]) => nowMs - sinceMs > this.#afterMs).map(([node]) => node);
        if (late.length > 0) overdue.set(name, new Set(late));
      }
    }
    return overdue;
  }
}

/** The node of the pool that gets a replica instead of one that is overdue: not a zone twice if that can be, then who holds least. */
export function chooseSubstitute(state: ClusterState, record: PartitionRecord, { target, loads, pool }: { readonly target: readonly NodeId[]; readonly loads: ReadonlyMap<NodeId, number>; readonly pool: string }): NodeId | undefined {
  const late = state.failover.overdue.get(nameOf(record));
  const zoneOf = (id: NodeId): string => state.specs.get(id)?.zone ?? '';
  const zones = new Set(target.filter((id) => late?.has(id) !== true).map(zoneOf));
  const candidates = [...state.specs.values()].filter((spec) => poolOf(spec) === pool).map(({ id }) => id).filter((id) => isUsable(state, id) && !target.includes(id) && late?.has(id) !== true);
  const loadOf = (id: NodeId): number => (loads.get(id) ?? 0) / (state.specs.get(id)?.weight ?? 1);
  return candidates.toSorted((a, b) => Number(zones.has(zoneOf(a))) - Number(zones.has(zoneOf(b))) || loadOf(a) - loadOf(b))[0];
}

/** Replicas per node, those on their way included. */
export function countLoads(partitions: Iterable<readonly VersionedRecord[]>): Map<NodeId, number> {
  const loads = new Map<NodeId, number>();
  for (const records of partitions) {
    for (const { record } of records) for (const { node } of [...record.inSync, ...record.learners]) loads.set(node, (loads.get(node) ?? 0) + 1);
  }
  return loads;
}

import { partitionName } from '@atoll/core-membership';

/** Streams of sub-ranges that a node receives at a time, and sends at a time, of all full syncs that are split (I10). */
export const SHARD_STREAMS_MAX = 32;

export interface ShardedInstall {
  readonly keyspace: string;
  readonly partition: number;
  /** Sub-ranges that are fetched side by side, 2 or more. */
  readonly shards: number;
}

/** What the coordinator said of how full syncs of this node's replicas are to be split. Lapses unless it is said again. */
export class ShardedInstalls {
  #shards: ReadonlyMap<string, number> = new Map();
  #untilMs = Number.NEGATIVE_INFINITY;

  /** In the place of what was said before. */
  set(installs: readonly ShardedInstall[], { validMs, nowMs }: { readonly validMs: number; readonly nowMs: number }): void {
    this.#shards = new Map(installs.map(({ keyspace, partition, shards }) => [partitionName(keyspace, partition), shards]));
    this.#untilMs = nowMs + validMs;
  }

  /** 1 for what is not to be split. */
  of({ keyspace, partition }: { readonly keyspace: string; readonly partition: number }, nowMs: number): number {
    return nowMs < this.#untilMs ? (this.#shards.get(partitionName(keyspace, partition)) ?? 1) : 1;
  }
}

import { REPLICATION_FACTOR_MAX } from '@atoll/core-runtime';
import { invalidArgument } from '@atoll/core-errors';
import { leaderShares, replicaShares, toLoadBounds } from './fair-share.ts';
import type { LoadBounds } from './fair-share.ts';
import type { Board } from './level.ts';
import { distancesTo, nodesFrom, partitionPositions } from './ring.ts';
import type { Ring } from './ring.ts';
import { checkPartitionCount } from './token.ts';
import { canJoin, createZoneRule } from './zone-rule.ts';
import type { ZoneRule } from './zone-rule.ts';

export interface AssignmentOptions {
  readonly keyspace: string;
  readonly partitionCount: number;
  readonly replicationFactor: number;
}

/**
 * The replicas of one keyspace while they are being placed. Nodes are indices into `ring.nodes`.
 * Each list is ordered, its first node leads, and it never breaks the zone rule.
 */
export class Assignment {
  readonly lists: number[][];
  readonly rule: ZoneRule;
  readonly #ring: Ring;
  readonly #starts: Float64Array;
  readonly #replicaBounds: readonly LoadBounds[];
  readonly #leaderBounds: readonly LoadBounds[];
  readonly #load: number[];
  readonly #leads: number[];
  readonly #held: Set<number>[];
  readonly #led: Set<number>[];
  readonly #distances: (Float64Array | undefined)[] = [];

  /** Throws INVALID_ARGUMENT for a partition count or replication factor out of range. */
  constructor(ring: Ring, { keyspace, partitionCount, replicationFactor }: AssignmentOptions) {
    checkPartitionCount(partitionCount);
    if (!Number.isInteger(replicationFactor) || replicationFactor < 1 || replicationFactor > REPLICATION_FACTOR_MAX)
      throw invalidArgument('replication_factor', `must be from 1 to ${REPLICATION_FACTOR_MAX}, is ${replicationFactor}`);
    this.#ring = ring;
    this.rule = createZoneRule(ring.nodes, replicationFactor);
    this.lists = Array.from({ length: partitionCount }, () => []);
    this.#starts = partitionPositions(keyspace, partitionCount);
    this.#replicaBounds = replicaShares(ring.nodes, this.rule, partitionCount).map((share) => toLoadBounds(share, partitionCount));
    this.#leaderBounds = leaderShares(ring.nodes, partitionCount).map((share) => toLoadBounds(share, partitionCount));
    this.#load = ring.nodes.map(() => 0);
    this.#leads = ring.nodes.map(() => 0);
    this.#held = ring.nodes.map(() => new Set());
    this.#led = ring.nodes.map(() => new Set());
  }

  /** Fair share of replicas of a node, not rounded; above 0 where its weight is. */
  replicaShare(node: number): number {
    return this.#replicaBounds[node]!.share;
  }

  /** Appends a replica unless the zone rule or a full list forbids it. */
  tryAdd(partition: number, node: number): boolean {
    const list = this.lists[partition]!;
    if (list.length >= this.rule.replicas || !canJoin(this.rule, list, node)) return false;
    list.push(node);
    this.#load[node]! += 1;
    this.#held[node]!.add(partition);
    if (list.length === 1) this.#setLeader(partition, undefined, node);
    return true;
  }

  /**
   * Completes every list along the ring. A node that has its share is passed over (Mirrokni, Thorup,
   * Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018); only where all that are
   * left have theirs does the limit rise, and levelling settles what then is too much.
   */
  fill(): void {
    const hasRoom = (node: number) => this.#load[node]! < this.#replicaBounds[node]!.aim;
    const isBelowCap = (node: number) => this.#load[node]! < this.#replicaBounds[node]!.cap;
    const canLeadMore = (node: number) => this.#leads[node]! < this.#leaderBounds[node]!.aim;
    for (const [partition, list] of this.lists.entries()) {
      while (list.length < this.rule.replicas) {
        const placed =
          (list.length === 0 && this.#fillOne(partition, (node) => hasRoom(node) && canLeadMore(node))) ||
          this.#fillOne(partition, hasRoom) ||
          this.#fillOne(partition, isBelowCap) ||
          this.#fillOne(partition, () => true);
        if (!placed) throw new Error(`partition ${partition} cannot be completed`);
      }
    }
  }

  #fillOne(partition: number, accepts: (node: number) => boolean): boolean {
    for (const node of nodesFrom(this.#ring, this.#starts[partition]!))
      if (accepts(node) && this.tryAdd(partition, node)) return true;
    return false;
  }

  /** Replicas between nodes; among those that may go (a pinned one may not), the one nearest to the new node on the ring. */
  replicaBoard(isPinned: (partition: number, node: number) => boolean = () => false): Board {
    return {
      load: this.#load,
      bounds: this.#replicaBounds,
      findMove: (from, to) => {
        const distances = (this.#distances[to] ??= distancesTo(this.#ring, to, this.#starts));
        let nearest: number | undefined;
        for (const partition of this.#held[from]!) {
          if (nearest !== undefined && distances[partition]! >= distances[nearest]!) continue;
          if (isPinned(partition, from)) continue;
          if (canJoin(this.rule, this.lists[partition]!, to, from)) nearest = partition;
        }
        return nearest;
      },
      move: (partition, from, to) => {
        const list = this.lists[partition]!;
        const place = list.indexOf(from);
        list[place] = to;
        this.#load[from]! -= 1;
        this.#load[to]! += 1;
        this.#held[from]!.delete(partition);
        this.#held[to]!.add(partition);
        if (place === 0) this.#setLeader(partition, from, to);
      },
    };
  }

  /**
   * Leaderships between replicas of one partition. Among those that may go, the one where the new leader
   * has the data already (`isPresent`), then where it stands first in the list.
   */
  leaderBoard(isPresent: (partition: number, node: number) => boolean): Board {
    return {
      load: this.#leads,
      bounds: this.#leaderBounds,
      findMove: (from, to) => {
        let found: number | undefined;
        let lowest = Infinity;
        for (const partition of this.#led[from]!) {
          const place = this.lists[partition]!.indexOf(to);
          if (place < 0) continue;
          const cost = place + (isPresent(partition, to) ? 0 : REPLICATION_FACTOR_MAX);
          if (cost > lowest || (cost === lowest && partition > found!)) continue;
          lowest = cost;
          found = partition;
        }
        return found;
      },
      move: (partition, from, to) => {
        const list = this.lists[partition]!;
        list.splice(list.indexOf(to), 1);
        list.unshift(to);
        this.#setLeader(partition, from, to);
      },
    };
  }

  #setLeader(partition: number, from: number | undefined, to: number): void {
    if (from !== undefined) {
      this.#leads[from]! -= 1;
      this.#led[from]!.delete(partition);
    }
    this.#leads[to]! += 1;
    this.#led[to]!.add(partition);
  }
}

import { retryPauseMs } from './retry-rules.ts';

/** Longest pause before a node that gave a partition up is asked for it again, in ms. */
const REST_MS_MAX = 1000;

interface Rest {
  readonly address: string;
  readonly untilMs: number;
  readonly attempts: number;
}

export interface HomePlan {
  /** Address of a node to the partitions to be watched there. */
  readonly homes: ReadonlyMap<string, readonly number[]>;
  /** When to plan again at the latest; Infinity: only when the table changes. */
  readonly nextMs: number;
}

/**
 * At which node each partition of a watch is watched: at its leader. Where a node gave one up it is asked again after
 * a pause, unless the table names another leader meanwhile.
 */
export class WatchHomes {
  readonly #partitions: readonly number[];
  readonly #rests = new Map<number, Rest>();

  constructor(partitions: readonly number[]) {
    this.#partitions = partitions;
  }

  /** `leaderOf`: host:port, empty while nobody leads. */
  plan(leaderOf: (partition: number) => string, nowMs: number): HomePlan {
    const homes = new Map<string, number[]>();
    let nextMs = Infinity;
    for (const partition of this.#partitions) {
      const address = leaderOf(partition);
      if (address === '') continue;
      const rest = this.#rests.get(partition);
      if (rest?.address === address && rest.untilMs > nowMs) {
        nextMs = Math.min(nextMs, rest.untilMs);
        continue;
      }
      const home = homes.get(address);
      if (home === undefined) homes.set(address, [partition]);
      else home.push(partition);
    }
    return { homes, nextMs };
  }

  /** The node gave the partition up. `random` is uniform in [0, 1). */
  rest(partition: number, address: string, nowMs: number, random: number): void {
    const before = this.#rests.get(partition);
    const attempts = before?.address === address ? before.attempts + 1 : 1;
    const pauseMs = attempts > 5 ? REST_MS_MAX * (0.5 + random / 2) : retryPauseMs(attempts, random);
    this.#rests.set(partition, { address, untilMs: nowMs + pauseMs, attempts });
  }

  /** The node serves these partitions. */
  served(partitions: Iterable<number>): void {
    if (this.#rests.size > 0) for (const partition of partitions) this.#rests.delete(partition);
  }
}

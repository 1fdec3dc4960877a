// A primary of this cluster whose place is taken without it (R15). Its keyspace says so in etcd (`freeze.forStandby`), and then the
// records of its partitions do: who leads there and reads that neither writes nor reads for clients any more. Of who cannot be asked
// it is certain after a time: leaders of keyspaces with a standby stop when they could not read their record for `fenceAfterMs`.
//
// All of it but the time stands in etcd: another coordinator goes on, and counts anew.
import { isLastingFreeze, standbyFence, type KeyspaceFreeze, type KeyspaceSpec, type PartitionRecord } from '@atoll/core-membership';
import type { CopyOrigin } from '@atoll/contracts/atoll/v1/copy';
import type { StandbyPair } from '@atoll/core-migration';
import { randomHex, type Random } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import { leadersOf, type FreezeCalls } from './freeze-calls.ts';

export interface StandbyFenceOptions {
  readonly view: Pick<ClusterView, 'partitions' | 'nodes' | 'nodeSpecs'>;
  readonly freezes: Pick<FreezeCalls, 'ask'>;
  /** Monotonic. */
  readonly nowMs: () => number;
  /** Time without a read of its record after which a leader has stopped, in ms. */
  readonly fenceAfterMs: number;
  /** A leader has answered. */
  readonly onNews: () => void;
}

export interface FenceState {
  /** Partitions of which it is not certain that nobody leads them. */
  readonly waiting: number;
  readonly partitions: number;
  /** Until it is certain of all, in ms at most; undefined while some record does not say it yet. */
  readonly leftMs: number | undefined;
  /** Ends of the logs of those whose leaders have stopped, and said so. */
  readonly barriers: ReadonlyMap<number, CopyOrigin>;
}

/** What a primary says from the moment on that `standby` takes its place, or has taken it. */
export const freezeForStandby = (standby: string, random: Random, wallMs: number): KeyspaceFreeze => ({ id: standbyFence(randomHex(random, 8)), sinceMs: wallMs, note: `promotion of ${standby}`, forStandby: standby });

/** Of one keyspace, for one word of its freeze. */
export class StandbyFence {
  readonly id: string;
  readonly #options: StandbyFenceOptions;
  /** By partition: since when this coordinator has seen the record say so. Another one's clock would say nothing here. */
  readonly #sinceMs = new Map<number, number>();
  /** The first barrier will do: nothing of clients is behind it, whoever leads. */
  readonly #barriers = new Map<number, CopyOrigin>();
  readonly #asking = new Set<string>();

  constructor(id: string, options: StandbyFenceOptions) {
    this.id = id;
    this.#options = options;
  }

  /** Does not wait for nodes. */
  look({ name, id, partitionCount }: KeyspaceSpec): FenceState {
    const { view, nowMs, fenceAfterMs } = this.#options;
    const now = nowMs();
    const records = view.partitions(name).map(({ record }) => record).filter((record) => record.keyspaceId === id && record.frozen === this.id && isLastingFreeze(record.frozen));
    for (const { partition } of records) if (!this.#sinceMs.has(partition)) this.#sinceMs.set(partition, now);
    const open = records.filter((record) => !this.#barriers.has(record.partition) && !isLedByNobody(view, record));
    const waiting = open.filter(({ partition }) => now - this.#sinceMs.get(partition)! < fenceAfterMs);
    for (const [address, partitions] of leadersOf(view, open)) if (!this.#asking.has(address)) void this.#ask(address, { name, id }, partitions);
    const leftMs = Math.max(0, ...waiting.map(({ partition }) => this.#sinceMs.get(partition)! + fenceAfterMs - now));
    return { waiting: waiting.length + partitionCount - records.length, partitions: partitionCount, leftMs: records.length < partitionCount ? undefined : leftMs, barriers: this.#barriers };
  }

  async #ask(address: string, { name, id }: Pick<KeyspaceSpec, 'name' | 'id'>, partitions: number[]): Promise<void> {
    const { freezes, onNews } = this.#options;
    this.#asking.add(address);
    const confirmed = await freezes.ask(address, { keyspace: name, keyspaceId: id, cutOver: this.id, partitions, seal: false, traceparent: '' });
    this.#asking.delete(address);
    for (const { partition, barrier } of confirmed) if (barrier !== undefined && !this.#barriers.has(partition)) this.#barriers.set(partition, barrier);
    if (confirmed.length > 0) onNews();
  }
}

/**
 * Whoever led by the record does so no more, for certain, and the next one reads the record first: nobody leads by it, or another
 * process of its node has registered since, or its process said that it stops and is gone. What is merely silent may be leading.
 */
function isLedByNobody(view: Pick<ClusterView, 'nodes' | 'nodeSpecs'>, { leader, leaderIncarnation, state }: PartitionRecord): boolean {
  if (leader === undefined) return state === 'WAITING';
  const node = view.nodes().get(leader.node);
  if (node !== undefined) return node.incarnation !== leaderIncarnation;
  const spec = view.nodeSpecs().get(leader.node);
  return spec !== undefined && (spec.stopped || spec.incarnation !== leaderIncarnation);
}

/** The standby has what the leaders had who said where their logs end. */
export function isDrained(barriers: ReadonlyMap<number, CopyOrigin>, pairs: readonly StandbyPair[]): boolean {
  return pairs.every(({ source, held }) => (held?.seq ?? 0) >= (barriers.get(source)?.seq ?? 0));
}

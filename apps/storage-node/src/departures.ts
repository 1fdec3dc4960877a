import type { Member } from '@atoll/core-membership';
import type { ClusterView } from '@atoll/platform-etcd';

/** The departures of a whole node are spread over so many ticks, about a second: its leaders serve meanwhile. */
const TICKS = 10;
/** Longest wait for a node that stops and still has offices, in ms. It waits 5 s itself, and then 2 s to be let go. */
const OFFICES_FIRST_MS = 4000;

/**
 * When members that are to go leave the in-sync sets of what is led here (R29): some with each tick, since many records
 * that change at once are felt, and those of a node that stops not while it hands its own offices over. It acknowledges
 * until then.
 */
export class Departures {
  readonly #view: Pick<ClusterView, 'keyspaces' | 'partitions'>;
  readonly #hasStopped: (node: string) => boolean;
  /** Members that may still go in this tick. */
  #left = 0;
  #nowMs = 0;
  /** Nodes that stop: since when one of their members is to go. A name per node of the cluster. */
  readonly #sinceMs = new Map<string, number>();
  /** As found in this tick. */
  readonly #isHandingOver = new Map<string, boolean>();

  /** `hasStopped`: whether the node said that it stops. */
  constructor(options: { view: Pick<ClusterView, 'keyspaces' | 'partitions'>; hasStopped: (node: string) => boolean }) {
    this.#view = options.view;
    this.#hasStopped = options.hasStopped;
  }

  /** `replicas`: how many this node holds. */
  tick(replicas: number, nowMs: number): void {
    this.#left = Math.max(2, Math.ceil(replicas / TICKS));
    this.#nowMs = nowMs;
    this.#isHandingOver.clear();
    for (const node of this.#sinceMs.keys()) if (!this.#hasStopped(node)) this.#sinceMs.delete(node);
  }

  /** True counts as gone. */
  mayGo({ node }: Member): boolean {
    if (this.#left === 0 || (this.#hasStopped(node) && this.#hasOffices(node))) return false;
    this.#left -= 1;
    return true;
  }

  #hasOffices(node: string): boolean {
    const sinceMs = this.#sinceMs.get(node) ?? this.#nowMs;
    this.#sinceMs.set(node, sinceMs);
    if (this.#nowMs - sinceMs >= OFFICES_FIRST_MS) return false;
    let isHandingOver = this.#isHandingOver.get(node);
    if (isHandingOver === undefined) {
      isHandingOver = this.#leadsWithOthers(node);
      this.#isHandingOver.set(node, isHandingOver);
    }
    return isHandingOver;
  }

  /** An office without another member in sync goes to nobody. */
  #leadsWithOthers(node: string): boolean {
    for (const keyspace of this.#view.keyspaces().keys()) {
      if (this.#view.partitions(keyspace).some(({ record }) => record.leader?.node === node && record.inSync.length > 1)) return true;
    }
    return false;
  }
}

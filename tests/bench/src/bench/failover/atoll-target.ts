import { createClient, type AtollClient } from '@atoll/client';
import { partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import { DevCluster, type DevProcess } from '../../cluster/dev-cluster.ts';
import { readTopology, type Topology } from '../../cluster/topology.ts';
import type { ProbeTarget } from './write-probe.ts';

const DEADLINE_MS = 30_000;
const SETTLE_MS = 60_000;
const POLL_MS = 50;

/** What a node leads. */
export interface Leaderships {
  readonly node: string;
  readonly slots: ReadonlySet<number>;
}

/** A cluster, of three storage nodes if nothing else is said, whose processes a bench ends and pauses, and an SDK client of its router. */
export class AtollTarget implements ProbeTarget {
  readonly cluster: DevCluster;
  readonly #client: AtollClient;
  #partitionCount = 0;

  private constructor(cluster: DevCluster) {
    this.cluster = cluster;
    this.#client = createClient({ routers: [cluster.router] });
  }

  static async start(signal: AbortSignal, nodes = 3): Promise<AtollTarget> {
    const target = new AtollTarget(await DevCluster.start({ nodes, signal }));
    target.#partitionCount = (await target.topology()).partitions.length;
    return target;
  }

  topology(): Promise<Topology> {
    return readTopology({ router: this.cluster.router });
  }

  slotOf(key: string): number {
    return partitionOfToken(tokenOfKey(Buffer.from(key)), this.#partitionCount);
  }

  async write(key: string, value: string): Promise<void> {
    await this.#client.set(key, value, { deadlineMs: DEADLINE_MS });
  }

  async read(key: string): Promise<string | undefined> {
    return (await this.#client.get(key, { deadlineMs: DEADLINE_MS }))?.value.toString();
  }

  /** The node that leads most, and what it leads. */
  async busiestLeader(): Promise<{ readonly node: DevProcess; readonly slots: ReadonlySet<number> }> {
    const { storageNodes } = await this.cluster.status();
    const { node, slots } = await this.busiestOf(storageNodes.map(({ id }) => id));
    return { node: storageNodes.find(({ id }) => id === node)!, slots };
  }

  /** Which of `nodes` leads most, and what it leads. */
  async busiestOf(nodes: readonly string[]): Promise<Leaderships> {
    const { partitions } = await this.topology();
    const slots = new Map<string, Set<number>>(nodes.map((node) => [node, new Set()]));
    for (const { id, leader } of partitions) slots.get(leader)?.add(id);
    const [[node, led]] = [...slots].toSorted(([, left], [, right]) => right.size - left.size) as [[string, Set<number>]];
    return { node, slots: led };
  }

  /** Resolves when every partition is led and has two replicas in sync. */
  async untilRedundant(signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + SETTLE_MS;
    for (;;) {
      signal.throwIfAborted();
      const { partitions } = await this.topology();
      if (partitions.every(({ leader, inSync, learners }) => leader !== '' && inSync.length === 2 && learners.length === 0)) return;
      if (performance.now() > deadline) throw new Error(`the cluster is not redundant again after ${SETTLE_MS / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async stop(): Promise<void> {
    this.#client.close();
    await this.cluster.stop();
  }
}

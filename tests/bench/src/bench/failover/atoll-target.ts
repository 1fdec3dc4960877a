import { createClient, type AtollClient } from '@atoll/client';
import { partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import { DevCluster, type DevProcess } from '../../cluster/dev-cluster.ts';
import { readTopology, type Topology } from '../../cluster/topology.ts';
import type { ProbeTarget } from './write-probe.ts';

const DEADLINE_MS = 30_000;
const SETTLE_MS = 60_000;
const POLL_MS = 50;

/** A cluster of three storage nodes whose processes a bench ends and pauses, and an SDK client of its router. */
export class AtollTarget implements ProbeTarget {
  readonly cluster: DevCluster;
  readonly #client: AtollClient;
  #partitionCount = 0;

  private constructor(cluster: DevCluster) {
    this.cluster = cluster;
    this.#client = createClient({ routers: [cluster.router] });
  }

  static async start(signal: AbortSignal): Promise<AtollTarget> {
    const target = new AtollTarget(await DevCluster.start({ nodes: 3, signal }));
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
    const { partitions } = await this.topology();
    const slots = new Map<string, Set<number>>();
    for (const { id, leader } of partitions) slots.set(leader, (slots.get(leader) ?? new Set()).add(id));
    const [name, led] = [...slots].toSorted(([, left], [, right]) => right.size - left.size)[0]!;
    const node = (await this.cluster.status()).storageNodes.find(({ id }) => id === name)!;
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

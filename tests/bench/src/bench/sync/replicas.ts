import type { DevCluster } from '../../cluster/dev-cluster.ts';
import { readMetric } from '../../cluster/metrics-scrape.ts';
import { readTopology, watchTopology } from '../../cluster/topology.ts';

const WATCH_MS = 180_000;
const POLL_MS = 20;

/** What full syncs have brought to a node since its process started; its metric is there from the first one on. */
export const installedBytes = (address: string): Promise<number> => readMetric(address, 'atoll_install_bytes_total', '');

/** Until every partition has two replicas in sync and nobody learns; with `away`, only after one of them was out of sync. */
export async function untilInSync(cluster: DevCluster, signal: AbortSignal, { away = false } = {}): Promise<void> {
  let wasAway = !away;
  for await (const { partitions } of watchTopology({ router: cluster.router, deadlineMs: WATCH_MS, signal })) {
    const isWhole = partitions.length > 0 && partitions.every(({ inSync, learners }) => inSync.length >= 2 && learners.length === 0);
    if (isWhole && wasAway) return;
    if (!isWhole) wasAway = true;
  }
  throw new Error('the replicas did not get in sync');
}

/** Until every partition has gone on without `node`. */
export async function untilLeft(cluster: DevCluster, node: string, signal: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + WATCH_MS;
  while (performance.now() < deadlineMs) {
    signal.throwIfAborted();
    const { partitions } = await readTopology({ router: cluster.router });
    if (partitions.every(({ inSync, leader }) => inSync.includes(leader) && leader !== node)) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error(`the partitions of ${node}, which is away, got no other leader`);
}

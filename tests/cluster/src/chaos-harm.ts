import type { ChaosClients } from './chaos-clients.ts';
import type { DevCluster } from './dev-cluster.ts';

/** What faults under load did that they may not do. */
export interface Harm {
  /** Keys whose history is not linearizable. */
  readonly history: readonly string[];
  /** Operations that were refused for good, by kind and reason; they may have waited. */
  readonly failures: Readonly<Record<string, number>>;
  /** Replicas that differ. */
  readonly differences: readonly string[];
}

export const NO_HARM: Harm = { history: [], failures: {}, differences: [] };

/** Brings everything to rest and ends the load. */
export async function harmOf(cluster: DevCluster, chaos: ChaosClients): Promise<Harm> {
  await cluster.untilRedundant();
  await chaos.progress();
  const history = await chaos.verify();
  return { history, failures: chaos.failures, differences: (await cluster.compareReplicas()).problems };
}

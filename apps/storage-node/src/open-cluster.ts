import { setTimeout as sleep } from 'node:timers/promises';
import { isAtollError } from '@atoll/core-errors';
import { StartupError } from '@atoll/platform-config';
import { ensureClusterId, openClusterView, type ClusterView, type MetadataStore } from '@atoll/platform-etcd';
import type { Logger } from '@atoll/platform-telemetry';

const RETRY_MS = 500;

/**
 * Waits for etcd, makes the cluster's id if nobody has, and opens the view. Undefined when the signal came first.
 * Throws StartupError when this etcd belongs to another cluster than the one asked for.
 */
export async function openCluster(options: {
  readonly store: MetadataStore;
  readonly logger: Logger;
  /** Join no other cluster; undefined: any. */
  readonly clusterId: string | undefined;
  readonly createId: () => string;
  readonly signal: AbortSignal;
}): Promise<ClusterView | undefined> {
  const { store, logger, clusterId, createId, signal } = options;
  let isWaiting = false;
  while (!signal.aborted) {
    try {
      const { id } = await ensureClusterId(store, () => clusterId ?? createId());
      if (clusterId !== undefined && id !== clusterId) {
        throw new StartupError(`etcd belongs to cluster ${id}, and ATOLL_CLUSTER_ID asks for ${clusterId}`);
      }
      const view = await openClusterView(store, { onProblem: (problem) => logger.warn({ problem }, 'a value in etcd cannot be used') });
      logger.info({ cluster: view.clusterId }, 'etcd has been read');
      return view;
    } catch (err) {
      if (!isAtollError(err) || err.reason !== 'METADATA_UNAVAILABLE') throw err;
      if (!isWaiting) logger.warn({ err }, 'waiting for etcd');
      isWaiting = true;
      await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
  }
  return undefined;
}

import { isAtollError } from '@atoll/core-errors';
import { StartupError } from '@atoll/platform-config';
import { ensureClusterId, openClusterView, type ClusterView, type MetadataStore } from '@atoll/platform-etcd';
import { waitFor } from '@atoll/platform-lifecycle';
import type { Logger } from '@atoll/platform-telemetry';

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
  const open = async (): Promise<ClusterView> => {
    const { id } = await ensureClusterId(store, () => clusterId ?? createId());
    if (clusterId !== undefined && id !== clusterId) {
      throw new StartupError(`etcd belongs to cluster ${id}, and ATOLL_CLUSTER_ID asks for ${clusterId}`);
    }
    return openClusterView(store, { onProblem: (problem) => logger.warn({ problem }, 'a value in etcd cannot be used') });
  };
  try {
    const view = await waitFor('etcd', open, {
      signal,
      isRetryable: (error) => isAtollError(error) && error.reason === 'METADATA_UNAVAILABLE',
      onWaiting: (message, err) => logger.warn({ err }, message),
    });
    logger.info({ cluster: view.clusterId }, 'etcd has been read');
    return view;
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

import { isAtollError } from '@atoll/core-errors';
import { StartupError } from '@atoll/platform-config';
import { ensureClusterId, openClusterView, type ClusterView, type MetadataStore } from '@atoll/platform-etcd';
import type { Logger, Metrics } from '@atoll/platform-telemetry';
import { waitFor } from './wait-for.ts';

export interface OpenClusterOptions {
  readonly store: MetadataStore;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'gauge'>;
  /** Join no other cluster; undefined: any. */
  readonly clusterId: string | undefined;
  /** Makes the cluster's id where nobody has yet; left out, this process waits until another one does. */
  readonly createId?: () => string;
  readonly signal: AbortSignal;
}

/**
 * How a service comes to its view of the cluster: waits for etcd, makes the cluster's id or waits for it, reads
 * everything. Undefined when the signal came first. Throws StartupError when this etcd belongs to another cluster
 * than the one asked for.
 */
export async function openCluster({ store, logger, metrics, clusterId, createId, signal }: OpenClusterOptions): Promise<ClusterView | undefined> {
  let opened: ClusterView | undefined;
  metrics.gauge('atoll_etcd_connected', { description: '1 while this process is told of changes by etcd.' }, () => (opened?.connected === true ? 1 : 0));
  const open = async (): Promise<ClusterView> => {
    if (createId !== undefined) await ensureClusterId(store, () => clusterId ?? createId());
    const view = await openClusterView(store, { onProblem: (problem) => logger.warn({ problem }, 'a value in etcd cannot be used') });
    if (!signal.aborted && (clusterId === undefined || clusterId === view.clusterId)) return view;
    await view.close();
    signal.throwIfAborted();
    throw new StartupError(`etcd belongs to cluster ${view.clusterId}, and ATOLL_CLUSTER_ID asks for ${clusterId}`);
  };
  try {
    const view = await waitFor('etcd', open, {
      signal,
      isRetryable: (error) => isAtollError(error) && (error.reason === 'METADATA_UNAVAILABLE' || error.reason === 'METADATA_REGRESSED'),
      onWaiting: (message, err) => logger.warn({ err }, message),
    });
    logger.info({ cluster: view.clusterId }, 'etcd has been read');
    opened = view;
    return view;
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { isAtollError } from '@atoll/core-errors';
import { StartupError } from '@atoll/platform-config';
import { readClusterIdentity, type MetadataStore } from '@atoll/platform-etcd';
import type { Logger, Readiness } from '@atoll/platform-telemetry';

export interface EtcdWatchdog {
  readonly readiness: () => Readiness;
  /** Rejects with a StartupError when this etcd belongs to another cluster than the one asked for. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

/** Asks etcd for the cluster's id again and again: that is what readiness of this service rests on. */
export function watchEtcd(options: {
  readonly store: MetadataStore;
  readonly logger: Logger;
  readonly clusterId: string | undefined;
  readonly intervalMs: number;
  /** Called when readiness changes. */
  readonly onChange: (isReady: boolean) => void;
}): EtcdWatchdog {
  const { store, logger, clusterId, intervalMs, onChange } = options;
  const stopping = new AbortController();
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  let state: Readiness = { ready: false, reasons: ['waiting for etcd'] };

  const become = (next: Readiness): void => {
    const isChange = next.ready !== state.ready;
    state = next;
    if (isChange) onChange(next.ready);
  };
  const check = async (): Promise<void> => {
    const identity = await readClusterIdentity(store);
    if (identity === undefined) return become({ ready: false, reasons: ['waiting for the first coordinator or node of the cluster'] });
    if (clusterId !== undefined && identity.id !== clusterId) {
      throw new StartupError(`etcd belongs to cluster ${identity.id}, and ATOLL_CLUSTER_ID asks for ${clusterId}`);
    }
    if (!state.ready) logger.info({ cluster: identity.id }, 'etcd answers');
    return become({ ready: true, reasons: [] });
  };
  const run = async (): Promise<void> => {
    let isSaid = false;
    while (!stopping.signal.aborted) {
      try {
        await check();
        isSaid = false;
      } catch (err) {
        if (!isAtollError(err)) return failed.reject(err);
        if (!isSaid && !stopping.signal.aborted) logger.warn({ err }, 'waiting for etcd');
        isSaid = true;
        become({ ready: false, reasons: ['waiting for etcd'] });
      }
      await sleep(intervalMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  };

  const running = run();
  return {
    readiness: () => state,
    failed: failed.promise,
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}

import type { SeenMark } from '@atoll/core-membership';
import { GuardedMetadataStore, RECOVERY_COMMAND, type MetadataStore } from '@atoll/platform-etcd';
import type { Logger, Metrics } from '@atoll/platform-telemetry';

export interface GuardMetadataOptions {
  /** Closed with what is returned. */
  readonly store: MetadataStore;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'gauge'>;
  /** What this process saw in its last life; default nothing. */
  readonly seen?: SeenMark | undefined;
  /** See GuardOptions. */
  readonly beginsBehind?: boolean;
  readonly onRegressed?: (reasons: readonly string[]) => void;
  readonly onRecovered?: () => void;
}

/** How a service comes to etcd: it notices when etcd went back, tells, and believes nothing of it until it was recovered (R13). */
export function guardMetadata({ store, logger, metrics, seen, beginsBehind = false, onRegressed, onRecovered }: GuardMetadataOptions): GuardedMetadataStore {
  const guarded = new GuardedMetadataStore(store, {
    ...(seen === undefined ? {} : { seen }),
    beginsBehind,
    onRegressed: (reasons) => {
      logger.error({ reasons, command: RECOVERY_COMMAND }, 'etcd went back: what was seen last goes on to stand, and nothing is changed until the metadata was recovered (R13)');
      onRegressed?.(reasons);
    },
    onRecovered: () => {
      logger.info('the metadata was recovered: etcd is believed again');
      onRecovered?.();
    },
  });
  metrics.gauge('atoll_metadata_regressed', { description: '1 while etcd shows less than this process saw (R13).' }, () => (guarded.isRegressed ? 1 : 0));
  return guarded;
}

import { connectEtcd, type EtcdObserver, type MetadataStore } from '@atoll/platform-etcd';
import type { Metrics } from '@atoll/platform-telemetry';

const BOUNDS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 3000];

type EtcdMetrics = Pick<Metrics, 'counterFamily' | 'histogramFamily'>;

/** How services are connected to etcd: as `connectEtcd`, with what they ask of it counted and timed. */
export function connectMetadata(endpoints: readonly string[], metrics: EtcdMetrics): MetadataStore {
  return connectEtcd({ endpoints, observer: observerOf(metrics) });
}

/** Rate, errors and duration of the calls of this process. */
function observerOf(metrics: EtcdMetrics): EtcdObserver {
  const requests = metrics.counterFamily('atoll_etcd_requests_total', ['operation', 'outcome'], { description: 'Calls to etcd by operation; each try at a server counts.' });
  const durations = metrics.histogramFamily('atoll_etcd_request_duration_seconds', ['operation'], { description: 'Time from a call to etcd to its answer.', unit: 's', bounds: BOUNDS_MS, scale: 0.001 });
  requests.with('transact', 'ok');
  return (operation, tookMs, isAnswered) => {
    requests.with(operation, isAnswered ? 'ok' : 'failed').add();
    if (isAnswered) durations.with(operation).record(tookMs);
  };
}

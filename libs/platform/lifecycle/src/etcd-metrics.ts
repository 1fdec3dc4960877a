import type { EtcdObserver } from '@atoll/platform-etcd';
import type { Metrics } from '@atoll/platform-telemetry';

const BOUNDS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 3000];

/** Rate, errors and duration of the calls of this process to etcd, for `connectEtcd`. */
export function etcdMetrics(metrics: Pick<Metrics, 'counterFamily' | 'histogramFamily'>): EtcdObserver {
  const requests = metrics.counterFamily('atoll_etcd_requests_total', ['operation', 'outcome'], { description: 'Calls to etcd by operation; each try at a server counts.' });
  const durations = metrics.histogramFamily('atoll_etcd_request_duration_seconds', ['operation'], { description: 'Time from a call to etcd to its answer.', unit: 's', bounds: BOUNDS_MS, scale: 0.001 });
  requests.with('transact', 'ok');
  return (operation, tookMs, isAnswered) => {
    requests.with(operation, isAnswered ? 'ok' : 'failed').add();
    if (isAnswered) durations.with(operation).record(tookMs);
  };
}

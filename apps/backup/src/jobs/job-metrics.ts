import type { Counter, Family, Metrics } from '@atoll/platform-telemetry';
import type { JobRecord } from './job-record.ts';

/** Of jobs that this process did. */
export class JobMetrics {
  readonly #ended: Family<Counter>;

  constructor(metrics: Pick<Metrics, 'counterFamily' | 'gauge'>, isOnDuty: () => boolean) {
    this.#ended = metrics.counterFamily('atoll_backup_jobs_total', ['kind', 'state'], { description: 'Jobs that this service brought to an end, by kind and how they ended.' });
    metrics.gauge('atoll_backup_on_duty', { description: '1 while this service does the jobs of the cluster; of several one does.' }, () => (isOnDuty() ? 1 : 0));
  }

  ended({ kind, state }: JobRecord): void {
    this.#ended.with(kind, state).add();
  }
}

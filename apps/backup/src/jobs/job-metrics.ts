import type { Counter, Family, Metrics } from '@atoll/platform-telemetry';
import { JOB_KINDS, type JobFigures, type JobKindName, type JobRecord } from './job-record.ts';

/** Of jobs that this process did. */
export class JobMetrics {
  readonly #ended: Family<Counter>;
  /** Of the last one of each kind that succeeded. */
  readonly #seconds = new Map<JobKindName, number>();

  /** `running`: undefined while this process is not on duty. */
  constructor(metrics: Pick<Metrics, 'counterFamily' | 'gauge' | 'gaugeFamily'>, running: () => ReadonlyMap<JobKindName, JobFigures> | undefined) {
    this.#ended = metrics.counterFamily('atoll_backup_jobs_total', ['kind', 'state'], { description: 'Jobs that this service brought to an end, by kind and how they ended.' });
    // From 0 on: the first failure is an increase.
    for (const kind of JOB_KINDS) for (const state of ['SUCCEEDED', 'FAILED', 'CANCELLED'] as const) this.#ended.with(kind, state);
    metrics.gauge('atoll_backup_on_duty', { description: '1 while this service does the jobs of the cluster; of several one does.' }, () => (running() === undefined ? 0 : 1));
    metrics.gaugeFamily('atoll_backup_job_bytes_per_second', { unit: 'By/s', description: 'Keys and values that the running job of a kind reads or writes per second; 0 while there is none.' }, () => {
      const figures = running();
      return figures === undefined ? [] : JOB_KINDS.map((kind) => ({ labels: { kind }, value: figures.get(kind)?.bytesPerSecond ?? 0 }));
    });
    metrics.gaugeFamily('atoll_backup_job_duration_seconds', { unit: 's', description: 'How long the last job of a kind took that this service brought to a good end, from its beginning, whoever began it.' }, () => [...this.#seconds].map(([kind, value]) => ({ labels: { kind }, value })));
  }

  ended({ kind, state, startedMs, endedMs }: Pick<JobRecord, 'kind' | 'state' | 'startedMs' | 'endedMs'>): void {
    this.#ended.with(kind, state).add();
    if (state === 'SUCCEEDED') this.#seconds.set(kind, Math.max(0, endedMs - startedMs) / 1000);
  }
}

// A copy is one trace: the job, under it the streams of the nodes that take it, and its end. Spans of the job are ended as soon as
// they begin: nodes go on with it whatever becomes of the coordinator.
import type { CopyJob } from '@atoll/core-migration';
import { failSpan, traceparentOf, type Attributes, type Tracing } from '@atoll/platform-telemetry';

export class CopySpans {
  readonly #tracing: Pick<Tracing, 'startSpan'>;

  constructor(tracing: Pick<Tracing, 'startSpan'>) {
    this.#tracing = tracing;
  }

  /** Span of the job; returns what the streams of its nodes hang under. */
  asked(job: CopyJob): string {
    const span = this.#tracing.startSpan('atoll.migration', { attributes: { ...namesOf(job), 'atoll.method': 'COPY', 'atoll.reason': 'REQUESTED', 'atoll.partitions': job.partitionCount } });
    span?.end();
    return (span && traceparentOf(span)) ?? '';
  }

  ended(job: CopyJob): void {
    if (job.traceparent === '') return;
    const span = this.#tracing.startSpan('atoll.migration.end', { parent: job.traceparent, attributes: { ...namesOf(job), 'atoll.state': job.state } });
    if (span === undefined) return;
    if (job.state !== 'SUCCEEDED') failSpan(span, new Error(job.problem));
    span.end();
  }
}

const namesOf = ({ id, source, target, cluster }: CopyJob): Attributes => ({
  'atoll.migration': id,
  'atoll.source': source,
  'atoll.target': target,
  ...(cluster !== undefined && { 'atoll.source_cluster': cluster.id }),
});

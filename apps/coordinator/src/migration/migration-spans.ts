// One trace per migration: the job, its partitions, their steps. Spans are ended as soon as they begin where their work
// outlives this process, so that what hangs under them is found whatever becomes of the coordinator.
import { hasEnded, sourcesOf, targetsOf, type MigrationJob, type MigrationOperator } from '@atoll/core-migration';
import { failSpan, traceparentOf, type Tracing } from '@atoll/platform-telemetry';

export class MigrationSpans {
  readonly #tracing: Pick<Tracing, 'startSpan'>;
  readonly #wallMs: () => number;

  constructor(tracing: Pick<Tracing, 'startSpan'>, wallMs: () => number) {
    this.#tracing = tracing;
    this.#wallMs = wallMs;
  }

  /** Span of the job; returns what its partitions hang under. */
  asked(job: Pick<MigrationJob, 'id' | 'method' | 'shards' | 'methodReason' | 'reason' | 'description' | 'total'>): string {
    const span = this.#tracing.startSpan('atoll.migration', {
      attributes: { 'atoll.migration': job.id, 'atoll.method': job.method, 'atoll.shards': job.shards, 'atoll.method_reason': job.methodReason, 'atoll.reason': job.reason, 'atoll.description': job.description, 'atoll.partitions': job.total },
    });
    span?.end();
    return (span && traceparentOf(span)) ?? '';
  }

  /** Span of a partition that begins; returns what its steps hang under. */
  began(job: MigrationJob, operator: MigrationOperator): string {
    if (job.traceparent === '') return '';
    const span = this.#tracing.startSpan('atoll.migration.partition', { parent: job.traceparent, attributes: { ...namesOf(operator), 'atoll.reason': operator.reason } });
    span?.end();
    return (span && traceparentOf(span)) ?? '';
  }

  /** Span of a step that is over. */
  stepped(from: MigrationOperator, to: MigrationOperator): void {
    if (from.traceparent === '') return;
    const span = this.#tracing.startSpan(`atoll.migration.${from.step.toLowerCase()}`, { parent: from.traceparent, startTime: from.stepSinceMs, attributes: { ...namesOf(to), 'atoll.next': to.step } });
    if (span === undefined) return;
    if (from.step === 'CATCH_UP' || hasEnded(to)) span.setAttributes({ 'atoll.bytes': to.bytes, 'atoll.entries': to.entries });
    if (from.step === 'VERIFY' && to.proof !== undefined) span.setAttributes({ 'atoll.epoch': to.proof.epoch, 'atoll.seq': to.proof.seq, 'atoll.ranges.repaired': to.proof.repaired });
    if (to.pauseMs !== undefined && to.pauseMs !== from.pauseMs) span.setAttribute('atoll.pause_ms', to.pauseMs);
    if (to.problem !== from.problem && to.problem !== '') failSpan(span, new Error(to.problem));
    span.end(this.#wallMs());
  }

  ended(job: MigrationJob): void {
    if (job.traceparent === '') return;
    const span = this.#tracing.startSpan('atoll.migration.end', {
      parent: job.traceparent,
      attributes: { 'atoll.migration': job.id, 'atoll.state': job.state, 'atoll.done': job.done, 'atoll.rolled_back': job.rolledBack, 'atoll.bytes': job.bytes, 'atoll.entries': job.entries },
    });
    if (span === undefined) return;
    if (job.state !== 'SUCCEEDED') failSpan(span, new Error(job.problem));
    span.end();
  }
}

const namesOf = (operator: MigrationOperator) => ({
  'atoll.migration': operator.job,
  'atoll.keyspace': operator.keyspace,
  'atoll.partition': operator.partition,
  'atoll.from': sourcesOf(operator).join(','),
  'atoll.to': targetsOf(operator).join(','),
});

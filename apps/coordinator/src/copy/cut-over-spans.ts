// The trace of a cut-over: one span for the whole, one for each step under it (R37).
import { failSpan, traceparentOf, type Tracing } from '@atoll/platform-telemetry';
import type { CopyJob } from '@atoll/core-migration';

export type CutOverPhase = 'freeze' | 'drain' | 'switch';

export class CutOverSpan {
  readonly #tracing: Pick<Tracing, 'startSpan'>;
  readonly #wallMs: () => number;
  /** Context of the whole; empty when it is not sampled. */
  readonly traceparent: string;
  readonly #job: Pick<CopyJob, 'id' | 'source' | 'target'>;
  #phase: { readonly name: CutOverPhase; readonly sinceMs: number } | undefined;

  constructor(tracing: Pick<Tracing, 'startSpan'>, wallMs: () => number, job: Pick<CopyJob, 'id' | 'source' | 'target' | 'traceparent'>) {
    this.#tracing = tracing;
    this.#wallMs = wallMs;
    this.#job = job;
    const span = tracing.startSpan('atoll.copy.cut_over', { ...(job.traceparent !== '' && { parent: job.traceparent }), attributes: { 'atoll.migration': job.id, 'atoll.keyspace': job.source, 'atoll.target': job.target } });
    // Ended as soon as it begins, so that what hangs under it is found whatever becomes of the coordinator.
    span?.end();
    this.traceparent = (span && traceparentOf(span)) ?? '';
  }

  /** A step begins, and the one before it is over; the same one goes on. */
  entered(name: CutOverPhase): void {
    if (this.#phase?.name === name) return;
    this.ended('');
    this.#phase = { name, sinceMs: this.#wallMs() };
  }

  /** The present step is over. `problem`: why it was given up; empty when it is done. */
  ended(problem: string, attributes: Readonly<Record<string, number>> = {}): void {
    const phase = this.#phase;
    this.#phase = undefined;
    if (phase === undefined || this.traceparent === '') return;
    const span = this.#tracing.startSpan(`atoll.copy.${phase.name}`, { parent: this.traceparent, startTime: phase.sinceMs, attributes: { 'atoll.migration': this.#job.id, ...attributes } });
    if (span === undefined) return;
    if (problem !== '') failSpan(span, new Error(problem));
    span.end(this.#wallMs());
  }
}

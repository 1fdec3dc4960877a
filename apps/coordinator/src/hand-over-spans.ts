// A span for each planned transfer, which data requests that meet it link to: under the migration that wants it, else the
// beginning of a trace.
import { nameOf, type HandOver, type PartitionRecord } from '@atoll/core-membership';
import { failSpan, traceparentOf, type Span, type Tracing } from '@atoll/platform-telemetry';

/** What `atoll.hand_over` tells: who had the office, who is to have it, why, and for how long writes waited. */
export class HandOverSpans {
  readonly #tracing: Pick<Tracing, 'startSpan'>;
  readonly #parentOf: (record: PartitionRecord) => string | undefined;
  readonly #running = new Map<string, Span>();

  /** `parentOf`: trace context of what migrates the partition; undefined: nothing does; empty: it is not sampled. */
  constructor(tracing: Pick<Tracing, 'startSpan'>, parentOf: (record: PartitionRecord) => string | undefined) {
    this.#tracing = tracing;
    this.#parentOf = parentOf;
  }

  /** Returns the context for the leader's node; empty where nothing is sampled. */
  begin({ record, target, reason }: HandOver): string {
    const parent = this.#parentOf(record);
    if (parent === '') return '';
    const { keyspace, partition, epoch, leader } = record;
    const attributes = { 'atoll.keyspace': keyspace, 'atoll.partition': partition, 'atoll.epoch': epoch, 'atoll.from': leader?.node ?? '', 'atoll.to': target.node, 'atoll.reason': reason };
    const span = this.#tracing.startSpan('atoll.hand_over', { parent, attributes });
    if (span === undefined) return '';
    this.#running.set(nameOf(record), span);
    return traceparentOf(span) ?? '';
  }

  /** `problem`: why the office stays where it is. `pauseMs`: how long writes waited. */
  end({ record }: HandOver, { problem, pauseMs }: { readonly problem: string | undefined; readonly pauseMs: number | undefined }): void {
    const span = this.#running.get(nameOf(record));
    if (span === undefined) return;
    this.#running.delete(nameOf(record));
    if (pauseMs !== undefined) span.setAttribute('atoll.pause_ms', pauseMs);
    if (problem !== undefined) failSpan(span, new Error(problem));
    span.end();
  }
}

// A failover is one trace: under the round of decisions a span for each partition that was given a new term, and below it,
// by way of the record, the taking of that office at its node.
import { nameOf, type DecisionKind, type NodeVerdict, type PartitionRecord } from '@atoll/core-membership';
import { failSpan, traceparentOf, type Span, type Tracing } from '@atoll/platform-telemetry';
import type { RecordAction, Written } from './adapters/record-writer.ts';

/** A new term after something failed. */
const FAILOVERS: ReadonlySet<DecisionKind> = new Set(['PROMOTE', 'PROMOTE_ELIGIBLE', 'RESET', 'RECOVER']);

export interface FailoverSpansOptions {
  readonly tracing: Pick<Tracing, 'startSpan'>;
  readonly verdictOf: (node: string) => Pick<NodeVerdict, 'state' | 'reason'> | undefined;
}

export class FailoverSpans {
  readonly #tracing: Pick<Tracing, 'startSpan'>;
  readonly #verdictOf: FailoverSpansOptions['verdictOf'];

  constructor({ tracing, verdictOf }: FailoverSpansOptions) {
    this.#tracing = tracing;
    this.#verdictOf = verdictOf;
  }

  /** Writes `actions` by `write`; records of new terms tell what their offices are traced under. */
  async around(
    actions: readonly RecordAction[],
    former: ReadonlyMap<string, PartitionRecord | undefined>,
    write: (actions: readonly RecordAction[]) => Promise<readonly Written<RecordAction>[]>,
  ): Promise<readonly Written<RecordAction>[]> {
    const spans = new Map<string, Span>();
    const traced = actions.map((action): RecordAction => {
      if (action.kind !== 'writeRecord') return action;
      // What is planned has a trace of its own, and does not belong to that of the term before.
      if (action.decision === 'TRANSFER') return { ...action, record: { ...action.record, traceparent: undefined } };
      if (!FAILOVERS.has(action.decision)) return action;
      const span = this.#begin(action.record, action.decision, former.get(nameOf(action.record)));
      if (span !== undefined) spans.set(nameOf(action.record), span);
      return { ...action, record: { ...action.record, traceparent: span && traceparentOf(span) } };
    });
    try {
      const written = await write(traced);
      const names = new Set(written.map(({ action }) => nameOf(action.record)));
      for (const [name, span] of spans) if (!names.has(name)) failSpan(span, new Error('the record was changed meanwhile, or the outcome is unknown: it is decided anew'));
      return written;
    } catch (error) {
      for (const span of spans.values()) failSpan(span, error);
      throw error;
    } finally {
      for (const span of spans.values()) span.end();
    }
  }

  #begin({ keyspace, partition, epoch, leader }: PartitionRecord, decision: DecisionKind, former: PartitionRecord | undefined): Span | undefined {
    const from = former?.leader?.node ?? '';
    const verdict = from === '' ? undefined : this.#verdictOf(from);
    return this.#tracing.startSpan('atoll.failover', {
      attributes: {
        'atoll.keyspace': keyspace,
        'atoll.partition': partition,
        'atoll.epoch': epoch,
        'atoll.from': from,
        'atoll.to': leader?.node ?? '',
        'atoll.reason': decision,
        ...(verdict !== undefined && { 'atoll.verdict': `${verdict.state}: ${verdict.reason}` }),
      },
    });
  }
}

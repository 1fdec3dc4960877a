import type { EntryTrace } from '@atoll/contracts/atoll/v1/replication';
import { traceparentOf, type Span } from '@atoll/platform-telemetry';

/** Bound: sampled writes are one in a thousand, and a stuck partition must not gather them. */
const TRACED_MAX = 1000;

/**
 * A sampled write. Its span splits the time T = Tw + Ts + Td: local work until the append (atoll.write.local_ms),
 * handing the entry to the followers' streams (atoll.write.transfer_ms), and waiting for their acknowledgements
 * (atoll.write.sync_wait_ms).
 */
export class TracedWrite {
  readonly traceparent: string;
  readonly #span: Span;
  readonly #arrivedMs: number;
  #seq = 0;
  #appendedMs = 0;
  #sentMs = 0;
  #isAnswered = false;

  constructor(span: Span, arrivedMs: number) {
    this.#span = span;
    this.#arrivedMs = arrivedMs;
    this.traceparent = traceparentOf(span) ?? '';
  }

  /** 0 until it is appended. */
  get seq(): number {
    return this.#seq;
  }

  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  appended(seq: number): void {
    this.#seq = seq;
    this.#appendedMs = performance.now();
  }

  /** To one more follower; the last one counts. */
  sent(): void {
    this.#sentMs = performance.now();
  }

  /** Before `appended` where the answer waits for nobody: all of it was local work then. */
  answered(): void {
    this.#isAnswered = true;
    const nowMs = performance.now();
    const appendedMs = this.#appendedMs || nowMs;
    const sentMs = this.#sentMs || appendedMs;
    this.#span.setAttributes({
      'atoll.write.local_ms': appendedMs - this.#arrivedMs,
      'atoll.write.transfer_ms': sentMs - appendedMs,
      'atoll.write.sync_wait_ms': nowMs - sentMs,
    });
  }
}

/** What is needed of a HostedReplica. */
export interface TracedReplica {
  readonly replica: { readonly leader: unknown; readonly state: { readonly appliedSeq: number } };
}

/** Sampled writes that followers have not all been sent, or that are not answered: where an entry's trace is found. */
export class TracedWrites {
  readonly #byReplica = new Map<TracedReplica, TracedWrite[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The write was appended as `seq`. At the bound the oldest is forgotten: its followers have no spans. */
  add(hosted: TracedReplica, write: TracedWrite, seq: number): void {
    write.appended(seq);
    if (write.isAnswered && seq <= hosted.replica.state.appliedSeq) return;
    if (this.#size >= TRACED_MAX) this.#forgetOldest();
    const writes = this.#byReplica.get(hosted);
    if (writes === undefined) this.#byReplica.set(hosted, [write]);
    else writes.push(write);
    this.#size += 1;
  }

  /** The write was answered. One that was answered ahead of its commit is kept for its followers until then. */
  answered(hosted: TracedReplica, write: TracedWrite): void {
    write.answered();
    this.#forgetSettled(hosted);
  }

  /** Entries `firstSeq` to `lastSeq` go out on a channel: the contexts that go with them. */
  sent(hosted: TracedReplica, channel: number, firstSeq: number, lastSeq: number): EntryTrace[] {
    const traces: EntryTrace[] = [];
    for (const write of this.#byReplica.get(hosted) ?? []) {
      if (write.seq < firstSeq || write.seq > lastSeq) continue;
      write.sent();
      traces.push({ channel, seq: write.seq, traceparent: write.traceparent });
    }
    this.#forgetSettled(hosted);
    return traces;
  }

  #forgetSettled(hosted: TracedReplica): void {
    const writes = this.#byReplica.get(hosted);
    if (writes === undefined) return;
    const { appliedSeq } = hosted.replica.state;
    const isLeading = hosted.replica.leader !== undefined;
    this.#keep(
      hosted,
      writes.filter((write) => !write.isAnswered || (isLeading && write.seq > appliedSeq)),
    );
  }

  #forgetOldest(): void {
    for (const [hosted, writes] of this.#byReplica) return this.#keep(hosted, writes.slice(1));
  }

  #keep(hosted: TracedReplica, remaining: TracedWrite[]): void {
    this.#size += remaining.length - (this.#byReplica.get(hosted)?.length ?? 0);
    if (remaining.length === 0) this.#byReplica.delete(hosted);
    else this.#byReplica.set(hosted, remaining);
  }
}

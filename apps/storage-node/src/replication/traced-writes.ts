import type { EntryTrace } from '@atoll/contracts/atoll/v1/replication';
import { traceparentOf, type Span } from '@atoll/platform-telemetry';
import type { HostedReplica } from '../hosted-replica.ts';

interface TracedWrite {
  readonly span: Span;
  readonly traceparent: string;
  readonly seq: number;
  readonly arrivedMs: number;
  readonly appendedMs: number;
  /** When the last follower's message left; 0 before. */
  sentMs: number;
}

/** Bound: sampled writes are one in a thousand, and a stuck partition must not gather them. */
const TRACED_MAX = 1000;

/**
 * Sampled writes between append and commit. The span of such a write splits its time T = Tw + Ts + Td: local work
 * until the append (atoll.write.local_ms), handing the entry to the followers' streams (atoll.write.transfer_ms), and
 * waiting for their acknowledgements (atoll.write.sync_wait_ms).
 */
export class TracedWrites {
  readonly #byReplica = new Map<HostedReplica, TracedWrite[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The write of `seq` was appended. The returned function ends the measurement at its commit. */
  begin(hosted: HostedReplica, span: Span, seq: number, arrivedMs: number): () => void {
    const traceparent = traceparentOf(span);
    if (this.#size >= TRACED_MAX || traceparent === undefined) return () => undefined;
    const write: TracedWrite = { span, traceparent, seq, arrivedMs, appendedMs: performance.now(), sentMs: 0 };
    const writes = this.#byReplica.get(hosted);
    if (writes === undefined) this.#byReplica.set(hosted, [write]);
    else writes.push(write);
    this.#size += 1;
    return () => this.#end(hosted, write);
  }

  /** Entries `firstSeq` to `lastSeq` go out on a channel: the contexts that go with them. */
  sent(hosted: HostedReplica, channel: number, firstSeq: number, lastSeq: number): EntryTrace[] {
    const traces: EntryTrace[] = [];
    for (const write of this.#byReplica.get(hosted) ?? []) {
      if (write.seq < firstSeq || write.seq > lastSeq) continue;
      write.sentMs = performance.now();
      traces.push({ channel, seq: write.seq, traceparent: write.traceparent });
    }
    return traces;
  }

  #end(hosted: HostedReplica, write: TracedWrite): void {
    const writes = this.#byReplica.get(hosted);
    const index = writes?.indexOf(write) ?? -1;
    if (writes === undefined || index < 0) return;
    writes.splice(index, 1);
    if (writes.length === 0) this.#byReplica.delete(hosted);
    this.#size -= 1;
    const nowMs = performance.now();
    const sentMs = write.sentMs === 0 ? write.appendedMs : write.sentMs;
    write.span.setAttributes({
      'atoll.write.local_ms': write.appendedMs - write.arrivedMs,
      'atoll.write.transfer_ms': sentMs - write.appendedMs,
      'atoll.write.sync_wait_ms': nowMs - sentMs,
    });
  }
}

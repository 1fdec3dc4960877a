import type { Deadline, Metadata } from '@grpc/grpc-js';
import { AtollError } from '@atoll/core-errors';
import { traceparentOf, type Span } from '@atoll/platform-telemetry';

/** The parts of grpc-js's server calls that a context needs. */
export interface ServerCall {
  readonly metadata: Metadata;
  readonly cancelled: boolean;
  getDeadline(): Deadline;
  getPeer(): string;
  once(event: 'cancelled', listener: () => void): unknown;
}

/** What a handler knows about its call beside the request. */
export class CallContext {
  /** Span of this call when it is sampled. */
  readonly span: Span | undefined;
  readonly #call: ServerCall;
  #abort: AbortController | undefined;

  constructor(call: ServerCall, span: Span | undefined) {
    this.#call = call;
    this.span = span;
  }

  get metadata(): Metadata {
    return this.#call.metadata;
  }

  /** Address of the other side, for logs. */
  get peer(): string {
    return this.#call.getPeer();
  }

  /**
   * Aborts when the client went away, its deadline passed, or (streams only) this server closes. The
   * reason is an AtollError. Made when first asked for, as it costs about 8 us: a sixth of a small unary call.
   */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      const onCancelled = (): void => this.abort(new AtollError('CANCELLED', 'the client went away or its deadline passed'));
      if (this.#call.cancelled) onCancelled();
      else this.#call.once('cancelled', onCancelled);
    }
    return this.#abort.signal;
  }

  /** Calls `listener` when the client goes away or its deadline passes. Cheaper than `signal`: no AbortController. */
  onCancelled(listener: () => void): void {
    if (this.#call.cancelled) listener();
    else this.#call.once('cancelled', listener);
  }

  /** True when nobody waits for the answer any more. */
  get isCancelled(): boolean {
    return this.#call.cancelled;
  }

  /** What is left of the caller's deadline, at least 0; `withoutMs` when the caller set none. */
  deadlineRemainingMs(withoutMs: number): number {
    const deadline = Number(this.#call.getDeadline());
    return Number.isFinite(deadline) ? Math.max(0, deadline - Date.now()) : withoutMs;
  }

  /** What to pass on with calls made for this one; undefined when it is not sampled. */
  get traceparent(): string | undefined {
    return this.span && traceparentOf(this.span);
  }

  /** For the wrappers: ends the work of this call for `reason`. */
  abort(reason: AtollError): void {
    if (this.#abort === undefined) this.#abort = new AbortController();
    this.#abort.abort(reason);
  }
}

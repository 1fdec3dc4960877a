// The streams of a copy in the trace of its job: `atoll.copy.stream` for as long as one is open, and under it `atoll.copy.fill`,
// which ends when all keys are there.
import { isAtollError } from '@atoll/core-errors';
import { failSpan, traceparentOf, type Attributes, type Span, type Tracing } from '@atoll/platform-telemetry';

export interface StreamSpansOptions {
  readonly tracing: Pick<Tracing, 'startSpan'>;
  /** Of the job; empty or undefined: it is not traced. */
  readonly parent: string | undefined;
  readonly attributes: Attributes;
  /** The one before failed and brought nothing: this one is told only when it brings something. */
  readonly isRepeat: boolean;
}

export class StreamSpans {
  readonly #options: StreamSpansOptions;
  readonly #startTime = Date.now();
  #stream: Span | undefined;
  #bytes = 0;
  #entries = 0;

  constructor(options: StreamSpansOptions) {
    this.#options = options;
    if (!options.isRepeat) this.#begin();
  }

  /** For the request that opens the stream. */
  get traceparent(): string | undefined {
    return this.#stream && traceparentOf(this.#stream);
  }

  /** A message came. */
  took(changes: readonly { readonly key: Uint8Array; readonly value?: Uint8Array | undefined }[]): void {
    this.#begin();
    this.#entries += changes.length;
    for (const { key, value } of changes) this.#bytes += key.length + (value?.length ?? 0);
  }

  /** All keys are there; from here on the stream follows. */
  filled(): void {
    const { tracing, attributes } = this.#options;
    if (this.#stream === undefined) return;
    tracing.startSpan('atoll.copy.fill', { parent: this.#stream, startTime: this.#startTime, attributes: { ...attributes, ...this.#amounts } })?.end();
  }

  /** `error`: why; undefined when nobody wants it any more. */
  end(error: unknown): void {
    if (this.#stream === undefined) return;
    this.#stream.setAttributes(this.#amounts);
    // What is no error of Atoll's is a bug, and its text stays in the log.
    if (error !== undefined) failSpan(this.#stream, isAtollError(error) ? error : new Error('internal error'));
    this.#stream.end();
  }

  get #amounts(): Attributes {
    return { 'atoll.bytes': this.#bytes, 'atoll.entries': this.#entries };
  }

  #begin(): void {
    const { tracing, parent, attributes } = this.#options;
    if (this.#stream !== undefined || parent === undefined || parent === '') return;
    this.#stream = tracing.startSpan('atoll.copy.stream', { parent, startTime: this.#startTime, attributes });
  }
}

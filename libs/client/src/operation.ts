import { WIRE_PART_BYTES_MAX } from '@atoll/core-runtime';
import type { AtollError } from '@atoll/core-errors';

/** NEW: not taken by a transport. QUEUED: waits in one. SENT: may have taken effect. DONE: answered. */
export const STATE = { NEW: 0, QUEUED: 1, SENT: 2, DONE: 3 } as const;

/** One operation of a caller, from the call to its answer. */
export class Operation {
  /** One of OPERATION of platform-wire. */
  readonly kind: number;
  readonly isWrite: boolean;
  /** The request message; the value stands in `parts` where it is large. */
  readonly body: Buffer;
  readonly parts: readonly Buffer[];
  readonly valueBytes: number;
  /** On the monotonic clock. */
  readonly deadlineAtMs: number;
  readonly traceparent: string;
  /** Called once: the bytes of the response message and, for a large value, its parts; or an error. */
  readonly onDone: (error: AtollError | undefined, body: Buffer, parts: readonly Buffer[] | undefined) => void;

  state: (typeof STATE)[keyof typeof STATE] = STATE.NEW;
  /** Id on the stream that it was sent on. */
  wireId = 0;
  attempts = 0;
  /** Of the last try. */
  transport: { readonly address: string; drop(operation: Operation): void } | undefined = undefined;
  lastFailure: AtollError | undefined = undefined;
  resultBody: Buffer | undefined = undefined;
  resultParts: Buffer[] | undefined = undefined;
  resultBytesMissing = 0;

  constructor(options: Pick<Operation, 'kind' | 'isWrite' | 'body' | 'deadlineAtMs' | 'traceparent' | 'onDone'> & { readonly largeValue?: Buffer }) {
    this.kind = options.kind;
    this.isWrite = options.isWrite;
    this.body = options.body;
    this.deadlineAtMs = options.deadlineAtMs;
    this.traceparent = options.traceparent;
    this.onDone = options.onDone;
    this.valueBytes = options.largeValue?.length ?? 0;
    this.parts = options.largeValue === undefined ? [] : slices(options.largeValue);
  }

  get bytes(): number {
    return this.body.length + this.valueBytes;
  }
}

function slices(value: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let start = 0; start < value.length; start += WIRE_PART_BYTES_MAX) parts.push(value.subarray(start, start + WIRE_PART_BYTES_MAX));
  return parts;
}

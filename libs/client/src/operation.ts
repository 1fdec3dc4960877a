import type { OpId } from '@atoll/contracts/atoll/v1/cache';
import { WIRE_PART_BYTES_MAX } from '@atoll/core-runtime';
import type { AtollError } from '@atoll/core-errors';
import { OP_ID_FIELD, encodeOpIdField } from '@atoll/platform-wire';

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
  /** Of a write: as it stands in `body`. */
  readonly opId: OpId | undefined;
  /** On the monotonic clock. */
  readonly deadlineAtMs: number;
  readonly traceparent: string;
  /** Called once: the bytes of the response message and, for a large value, its parts; or an error. */
  readonly onDone: (error: AtollError | undefined, body: Buffer, parts: readonly Buffer[] | undefined) => void;

  state: (typeof STATE)[keyof typeof STATE] = STATE.NEW;
  /** Its number among those under way. */
  number = 0;
  isQueued = false;
  queuePrevious: Operation | undefined = undefined;
  queueNext: Operation | undefined = undefined;
  /** Id on the stream that it was sent on. */
  wireId = 0;
  attempts = 0;
  /** When it was last handed to a stream. */
  sentAtMs = 0;
  /** A write that a router may have taken: it ends with success, or in doubt (R20). */
  mayHaveHappened = false;
  /** Then: when it was sent first, on the monotonic clock. */
  firstSentAtMs = 0;
  /** Of the last try. */
  transport: { readonly address: string; drop(operation: Operation): void } | undefined = undefined;
  lastFailure: AtollError | undefined = undefined;
  resultBody: Buffer | undefined = undefined;
  resultParts: Buffer[] | undefined = undefined;
  resultBytesMissing = 0;

  constructor(options: Pick<Operation, 'kind' | 'isWrite' | 'body' | 'opId' | 'deadlineAtMs' | 'traceparent' | 'onDone'> & { readonly largeValue?: Buffer }) {
    this.kind = options.kind;
    this.isWrite = options.isWrite;
    this.body = options.body;
    this.opId = options.opId;
    this.deadlineAtMs = options.deadlineAtMs;
    this.traceparent = options.traceparent;
    this.onDone = options.onDone;
    this.valueBytes = options.largeValue?.length ?? 0;
    this.parts = options.largeValue === undefined ? [] : slices(options.largeValue);
  }

  /** Its last sending may have been taken. */
  noteDoubt(): void {
    if (this.mayHaveHappened) return;
    this.mayHaveHappened = true;
    this.firstSentAtMs = this.sentAtMs;
  }

  /** What follows the body when it is sent now: a repeat says how old it is, so that it is done once (R21). */
  tailAt(nowMs: number): Buffer {
    if (!this.mayHaveHappened || this.opId === undefined) return EMPTY;
    const repeatAgeMs = Math.max(1, Math.ceil(nowMs - this.firstSentAtMs));
    return encodeOpIdField(OP_ID_FIELD[this.kind]!, { ...this.opId, repeatAgeMs });
  }

  get bytes(): number {
    return this.body.length + this.valueBytes;
  }
}

const EMPTY: Buffer = Buffer.alloc(0);

function slices(value: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let start = 0; start < value.length; start += WIRE_PART_BYTES_MAX) parts.push(value.subarray(start, start + WIRE_PART_BYTES_MAX));
  return parts;
}

// One Execute stream: batches of operations in, batches of results out. Operations are taken in the order in which
// they come, each appended before the next is looked at, so those on one key take effect in that order (R26).
import type { ServerDuplexStream } from '@grpc/grpc-js';
import {
  DeleteRequest,
  DeleteResponse,
  ErrorDetail,
  IncrementRequest,
  IncrementResponse,
  TouchRequest,
  TouchResponse,
  type SetRequest,
} from '@atoll/contracts/atoll/v1/cache';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { VALUE_BYTES_MAX, WIRE_PART_BYTES_MAX, MIB } from '@atoll/core-runtime';
import type { Moment } from '@atoll/core-replication';
import type { CallContext } from '@atoll/platform-grpc';
import { failSpan, type Span, type Tracing } from '@atoll/platform-telemetry';
import {
  OPERATION,
  RESULT,
  decodeGetRequest,
  decodeSetRequest,
  encodeExecuteResponse,
  encodeGetResponse,
  encodeSetResponse,
  readExecuteRequest,
  type OperationFrame,
  type OutgoingPart,
  type OutgoingResult,
} from '@atoll/platform-wire';
import { readMoment, type TurnEnd } from '../turn.ts';
import { operationName, type OperationMetrics } from './operation-metrics.ts';
import type { CacheOperations } from './cache-operations.ts';

export type RawExecuteStream = ServerDuplexStream<Buffer, Buffer>;

const EMPTY: Buffer = Buffer.alloc(0);
const RESPONSE_BYTES_MAX = 2 * MIB;
/** Operations that are taken in and unanswered, and results that wait for the stream: beyond it nothing more is read (I10). */
const OPEN_MAX = 65_536;
const WAITING_BYTES_MAX = 128 * MIB;

interface IncomingValue {
  readonly operation: OperationFrame;
  readonly value: Buffer;
  filled: number;
}

export interface ExecuteOptions {
  readonly operations: CacheOperations;
  readonly turn: TurnEnd;
  readonly tracing: Tracing;
  readonly metrics: OperationMetrics;
}

/** Resolves when the client ended the stream and every operation is answered; rejects on a malformed message. */
export function serveExecute(call: RawExecuteStream, context: CallContext, options: ExecuteOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const stream = new ExecuteStream(call, options);
    const settle = (error?: unknown): void => {
      stream.close();
      if (error === undefined) resolve();
      else reject(error);
    };
    call.on('data', (bytes: Buffer) => {
      try {
        stream.receive(bytes);
      } catch (error) {
        settle(error instanceof AtollError ? error : new AtollError('INVALID_ARGUMENT', `the message cannot be read: ${(error as Error).message}`, { cause: error }));
      }
    });
    call.on('end', () => stream.finish(() => settle()));
    call.on('error', settle);
    context.signal.addEventListener('abort', () => stream.finish(() => settle(context.signal.reason)), { once: true });
  });
}

class ExecuteStream {
  readonly #call: RawExecuteStream;
  readonly #options: ExecuteOptions;
  readonly #values = new Map<number, IncomingValue>();
  #results: OutgoingResult[] = [];
  #parts: OutgoingPart[] = [];
  #waitingBytes = 0;
  #open = 0;
  #now: Moment = readMoment();
  #isScheduled = false;
  #isBlocked = false;
  #isClosed = false;
  #onFinished: (() => void) | undefined;

  constructor(call: RawExecuteStream, options: ExecuteOptions) {
    this.#call = call;
    this.#options = options;
    call.on('drain', () => {
      this.#isBlocked = false;
      this.#schedule();
    });
  }

  receive(bytes: Buffer): void {
    this.#now = readMoment();
    readExecuteRequest(bytes, {
      onOperation: (operation) => this.#onOperation(operation),
      onPart: (id, data) => this.#onPart(id, data),
    });
    if (this.#isFull) this.#call.pause();
  }

  /** Calls back when everything that was taken in is answered and handed to the stream. */
  finish(onFinished: () => void): void {
    this.#onFinished = onFinished;
    this.#schedule();
  }

  close(): void {
    this.#isClosed = true;
    this.#values.clear();
    this.#results = [];
    this.#parts = [];
  }

  get #isFull(): boolean {
    return this.#open > OPEN_MAX || this.#waitingBytes > WAITING_BYTES_MAX;
  }

  #onOperation(operation: OperationFrame): void {
    this.#open += 1;
    if (operation.valueBytes === 0) return this.#execute(operation, undefined);
    if (operation.valueBytes > VALUE_BYTES_MAX || operation.kind !== OPERATION.SET) {
      return this.#fail(operation.id, invalidArgument('value_bytes', `must be at most ${VALUE_BYTES_MAX}, and only for set`));
    }
    this.#values.set(operation.id, { operation, value: Buffer.allocUnsafeSlow(operation.valueBytes), filled: 0 });
  }

  #onPart(id: number, data: Buffer): void {
    const incoming = this.#values.get(id);
    if (incoming === undefined) return;
    if (incoming.filled + data.length > incoming.value.length) {
      this.#values.delete(id);
      return this.#fail(id, invalidArgument('parts', 'bring more bytes than value_bytes announced'));
    }
    incoming.filled += data.copy(incoming.value, incoming.filled);
    if (incoming.filled < incoming.value.length) return;
    this.#values.delete(id);
    this.#execute(incoming.operation, incoming.value);
  }

  #execute(operation: OperationFrame, assembled: Buffer | undefined): void {
    const { operations, tracing, metrics } = this.#options;
    const { id, kind, body } = operation;
    const now = this.#now;
    const span = operation.traceparent === '' ? undefined : tracing.startServerSpan(`atoll.v1.Cache/Execute ${operationName(kind)}`, operation.traceparent);
    const trace = span === undefined ? undefined : { span, arrivedMs: performance.now() };
    const started = metrics.start(kind, now.monotonicMs);
    const answer = <Response>(resultKind: number, encode: (response: Response) => Buffer) => {
      return (error: AtollError | undefined, response: Response | undefined): void => {
        started?.(error);
        endSpan(span, error);
        if (error !== undefined) this.#fail(id, error);
        else this.#push(id, resultKind, encode(response as Response));
      };
    };
    switch (kind) {
      case OPERATION.GET:
        return operations.get(decodeGetRequest(body), now, (error, response) => {
          started?.(error);
          endSpan(span, error);
          if (error !== undefined) return this.#fail(id, error);
          const value = response!.value;
          if (value.length <= WIRE_PART_BYTES_MAX) return this.#push(id, RESULT.GET, encodeGetResponse(response!));
          this.#push(id, RESULT.GET, encodeGetResponse({ ...response!, value: EMPTY }), value);
        });
      case OPERATION.SET: {
        const request: SetRequest = decodeSetRequest(body);
        if (assembled !== undefined) request.value = assembled;
        return operations.set(request, now, answer(RESULT.SET, encodeSetResponse), trace);
      }
      case OPERATION.DELETE:
        return operations.delete(DeleteRequest.decode(body), now, answer(RESULT.DELETE, (response) => toBuffer(DeleteResponse.encode(response).finish())), trace);
      case OPERATION.INCREMENT:
        return operations.increment(IncrementRequest.decode(body), now, answer(RESULT.INCREMENT, (response) => toBuffer(IncrementResponse.encode(response).finish())), trace);
      case OPERATION.TOUCH:
        return operations.touch(TouchRequest.decode(body), now, answer(RESULT.TOUCH, (response) => toBuffer(TouchResponse.encode(response).finish())), trace);
      default: {
        const error = invalidArgument('kind', 'the operation has none that this release knows');
        endSpan(span, error);
        return this.#fail(id, error);
      }
    }
  }

  #fail(id: number, error: AtollError): void {
    const detail = { reason: error.reason ?? 'INTERNAL', message: error.message, metadata: { ...error.metadata } };
    this.#push(id, RESULT.ERROR, toBuffer(ErrorDetail.encode(detail).finish()));
  }

  #push(id: number, kind: number, body: Buffer, value?: Buffer): void {
    if (this.#isClosed) return;
    this.#results.push({ id, kind, body, tail: EMPTY, valueBytes: value?.length ?? 0 });
    this.#waitingBytes += body.length + (value?.length ?? 0);
    if (value !== undefined) {
      for (let at = 0; at < value.length; at += WIRE_PART_BYTES_MAX) this.#parts.push({ id, data: value.subarray(at, at + WIRE_PART_BYTES_MAX) });
    }
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#options.turn.schedule(() => this.#flush());
  }

  /** Results go out in messages of bounded size; announced values follow their results. */
  #flush(): void {
    this.#isScheduled = false;
    while (!this.#isClosed && !this.#isBlocked && !this.#call.destroyed && this.#results.length + this.#parts.length > 0) {
      const results = takeUpTo(this.#results, (result) => result.body.length, RESPONSE_BYTES_MAX);
      const parts = this.#results.length > 0 ? [] : takeUpTo(this.#parts, (part) => part.data.length, RESPONSE_BYTES_MAX);
      for (const result of results) this.#waitingBytes -= result.body.length;
      for (const part of parts) this.#waitingBytes -= part.data.length;
      this.#open -= results.length;
      this.#isBlocked = !this.#call.write(encodeExecuteResponse(results, parts));
    }
    if (!this.#isFull && this.#call.isPaused()) this.#call.resume();
    const isDone = this.#call.destroyed || (this.#open - this.#values.size <= 0 && this.#results.length + this.#parts.length === 0);
    if (this.#onFinished !== undefined && isDone) this.#onFinished();
  }
}

/** Removes and returns leading items of at most `bytesMax` together, but at least one. */
function takeUpTo<T>(items: T[], sizeOf: (item: T) => number, bytesMax: number): T[] {
  let bytes = 0;
  let count = 0;
  while (count < items.length && (count === 0 || bytes + sizeOf(items[count]!) <= bytesMax)) bytes += sizeOf(items[count++]!);
  return items.splice(0, count);
}

function endSpan(span: Span | undefined, error: AtollError | undefined): void {
  if (span === undefined) return;
  if (error !== undefined) failSpan(span, error);
  span.end();
}

const toBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

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
  BATCH_OPERATIONS_MAX,
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
/** Values that have begun to arrive in parts and are not whole, by their announced sizes; further ones are refused (I10). */
const ARRIVING_BYTES_MAX = 256 * MIB;

interface IncomingValue {
  readonly operation: OperationFrame;
  /** Memory is taken when the first part comes, so that an announcement costs nothing. */
  value: Buffer | undefined;
  filled: number;
}

interface IncomingPart {
  readonly id: number;
  readonly data: Buffer;
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
    const settle = (error?: unknown): void => {
      stream.close();
      if (error === undefined) resolve();
      else reject(error);
    };
    const stream = new ExecuteStream(call, options, settle);
    call.on('data', (bytes: Buffer) => stream.receive(bytes));
    call.on('end', () => stream.finish(() => settle()));
    call.on('error', settle);
    const onAbort = (): void => {
      // Nobody reads the answers of a client that went away; a server that closes still gives them.
      if (context.isCancelled) settle(context.signal.reason);
      else stream.finish(() => settle(context.signal.reason));
    };
    context.signal.addEventListener('abort', onAbort, { once: true });
  });
}

class ExecuteStream {
  readonly #call: RawExecuteStream;
  readonly #options: ExecuteOptions;
  readonly #onError: (error: unknown) => void;
  readonly #values = new Map<number, IncomingValue>();
  /** What was read and is not taken in, in order: the stream was full. Bounded by the size of one message. */
  readonly #backlog: (OperationFrame | IncomingPart)[] = [];
  #arrivingBytes = 0;
  #results: OutgoingResult[] = [];
  #parts: OutgoingPart[] = [];
  #waitingBytes = 0;
  #open = 0;
  #now: Moment = readMoment();
  #isScheduled = false;
  #isBlocked = false;
  #isClosed = false;
  #onFinished: (() => void) | undefined;

  /** `onError` is told of a message that cannot be read: the stream is over then. */
  constructor(call: RawExecuteStream, options: ExecuteOptions, onError: (error: unknown) => void) {
    this.#call = call;
    this.#options = options;
    this.#onError = onError;
    call.on('drain', () => {
      this.#isBlocked = false;
      this.#schedule();
    });
  }

  receive(bytes: Buffer): void {
    if (!this.#isClosed) this.#attempt(() => this.#read(bytes));
  }

  #attempt(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#onError(error);
    }
  }

  #read(bytes: Buffer): void {
    let count = 0;
    const onOperation = (operation: OperationFrame): void => {
      count += 1;
      if (count > BATCH_OPERATIONS_MAX) throw invalidArgument('operations', `must be at most ${BATCH_OPERATIONS_MAX} in one message`);
      this.#backlog.push(operation);
    };
    readOrRefuse(() => readExecuteRequest(bytes, { onOperation, onPart: (id, data) => this.#backlog.push({ id, data }) }));
    this.#takeIn();
  }

  /** Takes in what was read, in order, until the stream is full. */
  #takeIn(): void {
    this.#now = readMoment();
    const backlog = this.#backlog;
    let next = 0;
    while (next < backlog.length && !this.#isFull && !this.#isClosed) {
      const item = backlog[next++]!;
      if ('data' in item) this.#onPart(item.id, item.data);
      else this.#onOperation(item);
    }
    if (next === backlog.length) backlog.length = 0;
    else backlog.splice(0, next);
    if (this.#isFull || backlog.length > 0) this.#call.pause();
    else if (this.#call.isPaused()) this.#call.resume();
  }

  /** Calls back when everything that was taken in is answered and handed to the stream. */
  finish(onFinished: () => void): void {
    this.#onFinished = onFinished;
    this.#schedule();
  }

  close(): void {
    this.#isClosed = true;
    this.#values.clear();
    this.#backlog.length = 0;
    this.#results = [];
    this.#parts = [];
  }

  get #isFull(): boolean {
    return this.#open > OPEN_MAX || this.#waitingBytes > WAITING_BYTES_MAX;
  }

  #onOperation(operation: OperationFrame): void {
    const { id, kind, valueBytes } = operation;
    if (valueBytes === 0) return this.#execute(operation, undefined);
    if (valueBytes > VALUE_BYTES_MAX || kind !== OPERATION.SET) {
      return this.#refuse(id, invalidArgument('value_bytes', `must be at most ${VALUE_BYTES_MAX}, and only for set`));
    }
    if (this.#values.has(id)) throw invalidArgument('id', `${id} is under way on this stream`);
    if (this.#values.size >= OPEN_MAX) return this.#refuse(id, new AtollError('OVERLOADED', `${OPEN_MAX} values are announced on this stream`));
    this.#values.set(id, { operation, value: undefined, filled: 0 });
  }

  #onPart(id: number, data: Buffer): void {
    const incoming = this.#values.get(id);
    // Parts of a value that was refused are still on their way.
    if (incoming === undefined) return;
    const { valueBytes } = incoming.operation;
    if (incoming.value === undefined) {
      if (this.#arrivingBytes + valueBytes > ARRIVING_BYTES_MAX) {
        this.#values.delete(id);
        return this.#refuse(id, new AtollError('OVERLOADED', 'too many values arrive at once on this stream'));
      }
      this.#arrivingBytes += valueBytes;
      incoming.value = Buffer.allocUnsafeSlow(valueBytes);
    }
    const isTooLong = incoming.filled + data.length > valueBytes;
    incoming.filled += data.copy(incoming.value, incoming.filled);
    if (!isTooLong && incoming.filled < valueBytes) return;
    this.#values.delete(id);
    this.#arrivingBytes -= valueBytes;
    if (isTooLong) this.#refuse(id, invalidArgument('parts', 'bring more bytes than value_bytes announced'));
    else this.#execute(incoming.operation, incoming.value);
  }

  #refuse(id: number, error: AtollError): void {
    this.#open += 1;
    this.#fail(id, error);
  }

  #execute(operation: OperationFrame, assembled: Buffer | undefined): void {
    this.#open += 1;
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
        return operations.get(readOrRefuse(() => decodeGetRequest(body)), now, (error, response) => {
          started?.(error);
          endSpan(span, error);
          if (error !== undefined) return this.#fail(id, error);
          const value = response!.value;
          if (value.length <= WIRE_PART_BYTES_MAX) return this.#push(id, RESULT.GET, encodeGetResponse(response!));
          this.#push(id, RESULT.GET, encodeGetResponse({ ...response!, value: EMPTY }), value);
        }, span);
      case OPERATION.SET: {
        const request: SetRequest = readOrRefuse(() => decodeSetRequest(body));
        if (assembled !== undefined) request.value = assembled;
        return operations.set(request, now, answer(RESULT.SET, encodeSetResponse), trace);
      }
      case OPERATION.DELETE:
        return operations.delete(readOrRefuse(() => DeleteRequest.decode(body)), now, answer(RESULT.DELETE, (response) => toBuffer(DeleteResponse.encode(response).finish())), trace);
      case OPERATION.INCREMENT:
        return operations.increment(readOrRefuse(() => IncrementRequest.decode(body)), now, answer(RESULT.INCREMENT, (response) => toBuffer(IncrementResponse.encode(response).finish())), trace);
      case OPERATION.TOUCH:
        return operations.touch(readOrRefuse(() => TouchRequest.decode(body)), now, answer(RESULT.TOUCH, (response) => toBuffer(TouchResponse.encode(response).finish())), trace);
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
    if (!this.#isClosed && this.#call.isPaused()) this.#attempt(() => this.#takeIn());
    const isIdle = this.#open <= 0 && this.#backlog.length === 0 && this.#results.length + this.#parts.length === 0;
    const isDone = this.#call.destroyed || isIdle;
    if (this.#onFinished !== undefined && isDone) this.#onFinished();
  }
}

/** Throws INVALID_ARGUMENT where `read` meets bytes that are no such message. */
function readOrRefuse<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof AtollError) throw error;
    throw new AtollError('INVALID_ARGUMENT', `the message cannot be read: ${(error as Error).message}`, { cause: error });
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

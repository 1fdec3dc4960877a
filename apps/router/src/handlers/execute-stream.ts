import { ErrorDetail } from '@atoll/contracts/atoll/v1/cache';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { MIB, NumberMap, WIRE_PART_BYTES_MAX } from '@atoll/core-runtime';
import type { Span, Tracing } from '@atoll/platform-telemetry';
import { failSpan } from '@atoll/platform-telemetry';
import {
  BATCH_OPERATIONS_MAX,
  MalformedMessage,
  RESULT,
  encodeExecuteResponse,
  readExecuteRequest,
  type OperationFrame,
  type OperationVisitor,
  type OutgoingPart,
  type OutgoingResult,
} from '@atoll/platform-wire';
import { takeIn } from '../domain/intake.ts';
import { KeyOrder } from '../domain/key-order.ts';
import { FIELDS } from '../domain/operation-fields.ts';
import type { RoutedOperation } from '../domain/routed-operation.ts';
import { BATCH_BYTES_MAX, DEADLINE_MS_DEFAULT, DEADLINE_MS_MAX } from '../limits.ts';
import type { Routing } from './router-context.ts';

/** The two directions of a client's stream. */
export interface ExecuteCall {
  pause(): unknown;
  resume(): unknown;
  write(message: Buffer, onSent: () => void): boolean;
}

export interface ExecuteStreamOptions {
  readonly call: ExecuteCall;
  readonly routing: Routing;
  readonly tracing: Tracing;
  readonly nowMs: () => number;
  /** Operations under way for this stream; beyond it nothing is read. */
  readonly windowOperations: number;
  /** The stream is of no use any more: malformed, or stalled. */
  readonly onBroken: (error: AtollError) => void;
  /** Everything that was read is answered and written. */
  readonly onIdle: () => void;
}

/** Bytes of results that may be on their way to one client, about; many large values make the window smaller. */
const RESULT_BYTES_TARGET = 32 * MIB;
/** Results that lie unwritten because the client does not read: beyond it the stream is closed (I10). */
const RESULT_BYTES_MAX = 256 * MIB;
/** Operations and bytes that were read while parts of an earlier value were awaited; beyond it they are refused. */
const PENDING_OPERATIONS_MAX = 2 * BATCH_OPERATIONS_MAX;
const PENDING_BYTES_MAX = 64 * MIB;
/** Bytes written that the connection has not taken yet, beyond which nothing more is written. */
const UNSENT_BYTES_MAX = 8 * MIB;
/** Framing of a message may exceed its content by this. */
const MESSAGE_SLACK_BYTES = 64 * 1024;

const EMPTY: Buffer = Buffer.alloc(0);

interface Waiting {
  readonly frame: OperationFrame;
  readonly arrivedAtMs: number;
}

/**
 * One client's Execute stream at the router: reads batches while there is room, starts operations in the order
 * read, and writes results of one turn of the event loop in one message.
 */
export class ExecuteStream implements OperationVisitor {
  readonly #options: ExecuteStreamOptions;
  readonly #order = new KeyOrder();
  /** Under way, by the client's id. */
  readonly #operations = new NumberMap<RoutedOperation>();
  /** Read, but beyond the window. At most one message of them. */
  #pending: Waiting[] = [];
  #pendingIndex = 0;
  #pendingBytes = 0;
  /** Under way, and waiting for parts of their value. */
  readonly #collecting = new Set<RoutedOperation>();
  /** Parts that came for operations that are still pending. */
  readonly #pendingParts = new Map<number, Buffer[]>();
  #results: (OutgoingResult | OutgoingPart)[] = [];
  #resultBytes = 0;
  #unsentBytes = 0;
  /** Recent result size, for the window. */
  #typicalResultBytes = 0;
  #operationsRead = 0;
  #nowMs = 0;
  #isBlocked = false;
  #isPaused = false;
  #isFlushScheduled = false;
  #isClosing = false;
  #isOver = false;

  constructor(options: ExecuteStreamOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#operations.size === 0 && this.#pendingIndex >= this.#pending.length && this.#results.length === 0;
  }

  get underWayCount(): number {
    return this.#operations.size;
  }

  /** A message of the client. */
  onMessage(message: Buffer): void {
    if (this.#isOver) return;
    this.#nowMs = this.#options.nowMs();
    this.#operationsRead = 0;
    try {
      if (message.length > BATCH_BYTES_MAX + MESSAGE_SLACK_BYTES) throw invalidArgument('request', `a message must be at most ${BATCH_BYTES_MAX} bytes, not ${message.length}`);
      readExecuteRequest(message, this);
    } catch (error) {
      if (error instanceof MalformedMessage) return this.#break(invalidArgument('request', 'is not an ExecuteRequest'));
      if (isAtollError(error)) return this.#break(error);
      throw error;
    }
    this.#regulate();
  }

  onOperation(frame: OperationFrame): void {
    this.#operationsRead += 1;
    if (this.#operationsRead > BATCH_OPERATIONS_MAX) throw invalidArgument('operations', `must be at most ${BATCH_OPERATIONS_MAX} in one message`);
    if (this.#pendingIndex < this.#pending.length || this.#operations.size >= this.#window()) {
      return this.#postpone(frame);
    }
    this.#begin(frame, this.#nowMs);
  }

  onPart(id: number, data: Buffer): void {
    const parts = this.#pendingParts.get(id);
    if (parts !== undefined) {
      this.#pendingBytes += data.length;
      if (this.#pendingBytes > PENDING_BYTES_MAX) throw new AtollError('OVERLOADED', 'too many values are on their way at once');
      parts.push(data);
      return;
    }
    const operation = this.#operations.get(id);
    if (operation === undefined) return; // it failed already
    this.#addPart(operation, data);
  }

  /** The client can take more. */
  onDrain(): void {
    this.#isBlocked = false;
    this.#flush();
  }

  /** This process stops: nothing more is read, and what was read is answered. */
  close(): void {
    this.#isClosing = true;
    const error = new AtollError('SHUTTING_DOWN', 'the router is shutting down');
    for (const operation of this.#collecting) this.#options.routing.dispatcher.fail(operation, error);
    this.#regulate();
  }

  /** The client is gone: what has not left for a node never will. */
  abandon(): void {
    this.#isOver = true;
    this.#pending = [];
    this.#pendingParts.clear();
    this.#hold(-this.#resultBytes);
    this.#results = [];
    this.#options.routing.dispatcher.abandon([...this.#operations.values()]);
    for (const { span } of this.#operations.values()) span?.end();
    this.#operations.clear();
    this.#collecting.clear();
  }

  /** Beyond the window: begins when there is room. */
  #postpone(frame: OperationFrame): void {
    if (this.#pending.length >= PENDING_OPERATIONS_MAX || this.#pendingBytes > PENDING_BYTES_MAX) {
      return this.#answerError(frame.id, new AtollError('OVERLOADED', 'too many operations are on their way at once'), undefined);
    }
    this.#pending.push({ frame, arrivedAtMs: this.#nowMs });
    this.#pendingBytes += frame.body.length;
    if (frame.valueBytes > 0) this.#pendingParts.set(frame.id, []);
  }

  #begin(frame: OperationFrame, arrivedAtMs: number): void {
    const { routing, tracing } = this.#options;
    const name = FIELDS[frame.kind]?.name ?? 'unknown';
    const span = tracing.startServerSpan(`atoll.v1.Cache/Execute ${name}`, frame.traceparent === '' ? undefined : frame.traceparent);
    try {
      if (this.#operations.has(frame.id)) throw invalidArgument('id', `${frame.id} is that of another operation under way`);
      if (frame.deadlineMs > DEADLINE_MS_MAX) throw invalidArgument('deadline_ms', `must be at most ${DEADLINE_MS_MAX}, not ${frame.deadlineMs}`);
      const operation = takeIn(
        {
          kind: frame.kind,
          body: frame.body,
          valueBytes: frame.valueBytes,
          startedAtMs: arrivedAtMs,
          deadlineAtMs: arrivedAtMs + (frame.deadlineMs || DEADLINE_MS_DEFAULT),
          span,
          onDone: this.#onDone,
        },
        routing.table,
        routing.opIds,
      );
      operation.callerId = frame.id;
      this.#operations.set(frame.id, operation);
      if (operation.isIncomplete) this.#collecting.add(operation);
      try {
        routing.dispatcher.submit(operation, this.#order);
      } catch (error) {
        this.#operations.delete(frame.id);
        this.#collecting.delete(operation);
        throw error;
      }
    } catch (error) {
      if (!isAtollError(error)) throw error;
      this.#answerError(frame.id, error, span);
    }
  }

  #addPart(operation: RoutedOperation, data: Buffer): void {
    const { dispatcher } = this.#options.routing;
    if (operation.valueParts === undefined || !operation.isIncomplete) throw invalidArgument('parts', 'a part came for an operation that takes none');
    if (data.length === 0 || data.length > WIRE_PART_BYTES_MAX) throw invalidArgument('parts', `a part must be 1 to ${WIRE_PART_BYTES_MAX} bytes, not ${data.length}`);
    const received = operation.bytes - operation.body.length - operation.tail.length;
    if (received + data.length > operation.valueBytes) throw invalidArgument('parts', 'there are more bytes than value_bytes says');
    dispatcher.addPart(operation, data);
    if (!operation.isIncomplete) this.#collecting.delete(operation);
  }

  readonly #onDone = (operation: RoutedOperation): void => {
    if (!this.#operations.delete(operation.callerId) || this.#isOver) return;
    this.#collecting.delete(operation);
    const { error, span } = operation;
    if (error !== undefined) return this.#answerError(operation.callerId, error, span);
    span?.end();
    const size = operation.resultBody.length + operation.resultValueBytes;
    // Rises at once and falls slowly: a burst of large values must not be let in on an old average.
    this.#typicalResultBytes = size > this.#typicalResultBytes ? size : this.#typicalResultBytes * 0.99 + size * 0.01;
    this.#answer({ id: operation.callerId, valueBytes: operation.resultValueBytes, kind: operation.kind - 1, body: operation.resultBody, tail: operation.resultTail });
    for (const data of operation.resultParts ?? []) this.#answer({ id: operation.callerId, data });
  };

  #answerError(id: number, error: AtollError, span: Span | undefined): void {
    if (span !== undefined) {
      failSpan(span, error);
      span.end();
    }
    const { reason, message, metadata } = error;
    const body = ErrorDetail.encode({ reason, message, metadata: { ...metadata } }).finish();
    this.#answer({ id, valueBytes: 0, kind: RESULT.ERROR, body: Buffer.from(body.buffer, body.byteOffset, body.byteLength), tail: EMPTY });
  }

  #answer(result: OutgoingResult | OutgoingPart): void {
    this.#results.push(result);
    this.#hold(sizeOf(result));
    const { heldResults } = this.#options.routing;
    const isTooMuch = this.#resultBytes > RESULT_BYTES_MAX || (heldResults.bytes > heldResults.bytesMax && this.#resultBytes > RESULT_BYTES_TARGET);
    if (isTooMuch) return this.#break(new AtollError('OVERLOADED', 'the client does not read its results'));
    this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    setImmediate(this.#flush);
  }

  /** Counts results that wait to be written, here and for the whole router. */
  #hold(bytes: number): void {
    this.#resultBytes += bytes;
    this.#options.routing.heldResults.bytes += bytes;
  }

  readonly #flush = (): void => {
    this.#isFlushScheduled = false;
    let index = 0;
    while (index < this.#results.length && !this.#isBlocked && this.#unsentBytes < UNSENT_BYTES_MAX && !this.#isOver) {
      const results: OutgoingResult[] = [];
      const parts: OutgoingPart[] = [];
      let bytes = 0;
      for (; index < this.#results.length; index += 1) {
        const next = this.#results[index]!;
        const size = sizeOf(next);
        if (bytes > 0 && bytes + size > BATCH_BYTES_MAX) break;
        bytes += size;
        if ('data' in next) parts.push(next);
        else results.push(next);
      }
      this.#hold(-bytes);
      this.#unsentBytes += bytes;
      const onSent = (): void => {
        this.#unsentBytes -= bytes;
        if (this.#results.length > 0 || this.#pending.length > 0 || this.#isPaused) this.#scheduleFlush();
      };
      if (!this.#options.call.write(encodeExecuteResponse(results, parts), onSent)) this.#isBlocked = true;
    }
    this.#results = index >= this.#results.length ? [] : this.#results.slice(index);
    this.#regulate();
    if (this.isIdle && !this.#isOver) this.#options.onIdle();
  };

  /** Operations that may be under way: fewer while results are large. */
  #window(): number {
    const { windowOperations } = this.#options;
    if (this.#resultBytes + this.#unsentBytes > RESULT_BYTES_TARGET) return 0;
    return Math.max(1, Math.min(windowOperations, Math.floor(RESULT_BYTES_TARGET / Math.max(1, this.#typicalResultBytes))));
  }

  /** Starts what is pending while there is room, and stops reading while there is none. */
  #regulate(): void {
    while (this.#pendingIndex < this.#pending.length && this.#operations.size < this.#window()) {
      const { frame, arrivedAtMs } = this.#pending[this.#pendingIndex]!;
      this.#pendingIndex += 1;
      this.#begin(frame, arrivedAtMs);
      this.#deliverParts(frame.id);
    }
    if (this.#pendingIndex >= this.#pending.length && this.#pending.length > 0) {
      this.#pending = [];
      this.#pendingIndex = 0;
      this.#pendingBytes = 0;
    }
    const hasRoom = this.#pending.length === 0 && this.#operations.size < this.#window();
    // Parts of a value that is awaited must be read, or it would never be complete.
    const isFull = this.#isClosing || (!hasRoom && this.#collecting.size === 0);
    if (isFull === this.#isPaused || this.#isOver) return;
    this.#isPaused = isFull;
    if (isFull) this.#options.call.pause();
    else this.#options.call.resume();
  }

  #deliverParts(id: number): void {
    const parts = this.#pendingParts.get(id);
    if (parts === undefined) return;
    this.#pendingParts.delete(id);
    const operation = this.#operations.get(id);
    if (operation === undefined) return;
    try {
      for (const data of parts) this.#addPart(operation, data);
    } catch (error) {
      if (!isAtollError(error)) throw error;
      this.#break(error);
    }
  }

  #break(error: AtollError): void {
    if (this.#isOver) return;
    this.abandon();
    this.#options.onBroken(error);
  }
}

const sizeOf = (result: OutgoingResult | OutgoingPart): number => ('data' in result ? result.data.length : result.body.length + result.tail.length) + 24;

import { Client, Metadata, connectivityState, credentials, type ClientDuplexStream } from '@grpc/grpc-js';
import { CacheService } from '@atoll/contracts/atoll/v1/cache';
import { NumberMap } from '@atoll/core-runtime';
import { createChannelOptions } from '@atoll/platform-grpc';
import { traceparentOf } from '@atoll/platform-telemetry';
import {
  BATCH_OPERATIONS_MAX,
  encodeExecuteRequest,
  readExecuteResponse,
  type OutgoingOperation,
  type OutgoingPart,
  type ResultVisitor,
} from '@atoll/platform-wire';
import { OperationQueue } from '../domain/operation-queue.ts';
import { OP_STATE, type OperationHolder, type RoutedOperation } from '../domain/routed-operation.ts';
import { BATCH_BYTES_MAX } from '../limits.ts';

/** What a link tells about the operations that it was given. */
export interface LinkListener {
  /** A whole answer is in: `kind` is one of RESULT; parts of a value stand in `operation.resultParts`. */
  onResult(operation: RoutedOperation, kind: number, body: Buffer): void;
  /** A large answer begins to arrive, of `operation.resultValueBytes`. It may be ended there and then (I10). */
  onLargeResult(operation: RoutedOperation): void;
  /** No answer will come. `handedOver`: the node may have it. */
  onLost(operation: RoutedOperation, handedOver: boolean, cause: string): void;
  /** The stream stands, or broke. */
  onConnection(address: string, connected: boolean, cause: string): void;
  onBatch(operations: number): void;
}

export interface NodeLinkOptions {
  /** host:port. */
  readonly address: string;
  /** Operations that the node may have unanswered. */
  readonly inFlightOperationsMax: number;
  /** Bytes of requests that the node may have unanswered; one larger request may go alone. */
  readonly inFlightBytesMax: number;
  /** Operations and bytes that may wait here for their turn. */
  readonly queuedOperationsMax: number;
  readonly queuedBytesMax: number;
  readonly nowMs: () => number;
  readonly listener: LinkListener;
}

type ExecuteStream = ClientDuplexStream<Buffer, Buffer>;

const passThrough = (bytes: Buffer): Buffer => bytes;
/** How long a broken stream rests before the next one, so that a node that refuses streams is not hammered. */
const REOPEN_PAUSE_MS = 50;
const CONNECT_CHECK_MS = 1000;

/**
 * One Execute stream to one storage node. Operations that come in one turn of the event loop leave in one
 * message. An operation is handed to the stream only when the connection stands, so that a refused connection
 * is a plain failure, also of a write.
 */
export class NodeLink implements OperationHolder, ResultVisitor {
  readonly address: string;
  readonly client: Client;
  readonly #options: NodeLinkOptions;
  readonly #queue = new OperationQueue();
  /** By the id on the stream. */
  readonly #inFlight = new NumberMap<RoutedOperation>();
  /** Operations whose announced value is still leaving in parts. */
  readonly #sendingParts = new Map<RoutedOperation, number>();
  #inFlightBytes = 0;
  #lastId = 0;
  #stream: ExecuteStream | undefined;
  #isConnecting = false;
  #isFlushScheduled = false;
  #isBlocked = false;
  #isClosed = false;
  #reopenTimer: NodeJS.Timeout | undefined;

  constructor(options: NodeLinkOptions) {
    this.address = options.address;
    this.#options = options;
    this.client = new Client(options.address, credentials.createInsecure(), createChannelOptions({ traffic: 'bulk' }));
  }

  get inFlightCount(): number {
    return this.#inFlight.size;
  }

  get queuedCount(): number {
    return this.#queue.count;
  }

  /** Operations here, for picking the least busy replica. */
  get load(): number {
    return this.#inFlight.size + this.#queue.count;
  }

  get isConnected(): boolean {
    return this.#stream !== undefined;
  }

  operations(): RoutedOperation[] {
    const all = this.#inOrder();
    for (let next = this.#queue.first; next !== undefined; next = next.queueNext) all.push(next);
    return all;
  }

  /** False: the queue is full (I10) and the operation was not taken. */
  submit(operation: RoutedOperation): boolean {
    const { queuedOperationsMax, queuedBytesMax, inFlightOperationsMax, inFlightBytesMax } = this.#options;
    if (this.load >= queuedOperationsMax + inFlightOperationsMax) return false;
    const bytes = this.#queue.bytes + this.#inFlightBytes;
    if (bytes > 0 && bytes + operation.bytes > queuedBytesMax + inFlightBytesMax) return false;
    operation.holder = this;
    operation.state = OP_STATE.QUEUED;
    this.#queue.push(operation);
    this.#scheduleFlush();
    return true;
  }

  drop(operation: RoutedOperation): void {
    if (operation.state === OP_STATE.QUEUED) this.#queue.remove(operation);
    else this.#forget(operation);
    operation.holder = undefined;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#reopenTimer);
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
    this.#loseAll('the router closes the connection');
    this.client.close();
  }

  onResult(id: number, kind: number, body: Buffer, valueBytes: number): void {
    const operation = this.#inFlight.get(id);
    if (operation === undefined) return; // its deadline passed
    if (valueBytes > 0) {
      operation.resultBody = body;
      operation.resultParts = [];
      operation.resultValueBytes = valueBytes;
      operation.resultBytesMissing = valueBytes;
      this.#options.listener.onLargeResult(operation);
      return;
    }
    this.#forget(operation);
    operation.holder = undefined;
    this.#options.listener.onResult(operation, kind, body);
  }

  onPart(id: number, data: Buffer): void {
    const operation = this.#inFlight.get(id);
    if (operation?.resultParts === undefined) return;
    operation.resultParts.push(data);
    operation.resultBytesMissing -= data.length;
    if (operation.resultBytesMissing > 0) return;
    this.#forget(operation);
    operation.holder = undefined;
    this.#options.listener.onResult(operation, operation.kind - 1, operation.resultBody);
  }

  #forget(operation: RoutedOperation): void {
    if (!this.#inFlight.delete(operation.wireId)) return;
    this.#inFlightBytes -= operation.bytes;
    this.#sendingParts.delete(operation);
    if (this.#queue.count > 0) this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#isFlushScheduled = false;
    if (this.#isClosed) return;
    if (this.#stream === undefined) {
      if (this.#queue.count > 0) this.#connect();
      return;
    }
    while (!this.#isBlocked && this.#stream !== undefined && (this.#sendBatch(this.#stream) || this.#sendParts(this.#stream)));
  };

  /** Sends what may go in one message. False when nothing may. */
  #sendBatch(stream: ExecuteStream): boolean {
    const { inFlightOperationsMax, inFlightBytesMax, nowMs, listener } = this.#options;
    let operation = this.#queue.first;
    if (operation === undefined || this.#inFlight.size >= inFlightOperationsMax) return false;
    const now = nowMs();
    const batch: OutgoingOperation[] = [];
    let bytes = 0;
    while (operation !== undefined && batch.length < BATCH_OPERATIONS_MAX && this.#inFlight.size < inFlightOperationsMax) {
      const size = operation.body.length + operation.tail.length;
      if (batch.length > 0 && bytes + size > BATCH_BYTES_MAX) break;
      if (this.#inFlight.size > 0 && this.#inFlightBytes + operation.bytes > inFlightBytesMax) break;
      this.#queue.remove(operation);
      bytes += size;
      batch.push(this.#takeOff(operation, now));
      operation = this.#queue.first;
    }
    if (batch.length === 0) return false;
    listener.onBatch(batch.length);
    this.#write(stream, encodeExecuteRequest(batch, []));
    return true;
  }

  #takeOff(operation: RoutedOperation, now: number): OutgoingOperation {
    this.#lastId += 1;
    operation.wireId = this.#lastId;
    operation.state = OP_STATE.SENT;
    operation.sentAtMs = now;
    this.#inFlight.set(this.#lastId, operation);
    this.#inFlightBytes += operation.bytes;
    if (operation.valueParts !== undefined) this.#sendingParts.set(operation, 0);
    return {
      id: this.#lastId,
      deadlineMs: Math.max(1, Math.floor(operation.deadlineAtMs - now)),
      traceparent: operation.clientSpan === undefined ? '' : (traceparentOf(operation.clientSpan) ?? ''),
      valueBytes: operation.valueBytes,
      kind: operation.kind,
      body: operation.body,
      tail: operation.tailAt(now),
    };
  }

  /** Sends one part of each value that is leaving, so that large values take turns. False when there is none. */
  #sendParts(stream: ExecuteStream): boolean {
    if (this.#sendingParts.size === 0) return false;
    for (const [operation, index] of this.#sendingParts) {
      const parts = operation.valueParts!;
      const part: OutgoingPart = { id: operation.wireId, data: parts[index]! };
      if (index + 1 >= parts.length) this.#sendingParts.delete(operation);
      else this.#sendingParts.set(operation, index + 1);
      this.#write(stream, encodeExecuteRequest([], [part]));
      if (this.#isBlocked) break;
    }
    return true;
  }

  #write(stream: ExecuteStream, message: Buffer): void {
    if (!stream.write(message)) this.#isBlocked = true;
  }

  #connect(): void {
    if (this.#isConnecting || this.#isClosed || this.#reopenTimer !== undefined) return;
    const channel = this.client.getChannel();
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) return this.#open();
    // Whoever waits goes elsewhere or comes again later: this node cannot be reached at the moment.
    if (state === connectivityState.TRANSIENT_FAILURE) this.#loseQueue('the node cannot be reached');
    this.#isConnecting = true;
    channel.watchConnectivityState(state, Date.now() + CONNECT_CHECK_MS, () => {
      this.#isConnecting = false;
      if (!this.#isClosed && this.#queue.count > 0) this.#connect();
    });
  }

  #open(): void {
    const stream = this.client.makeBidiStreamRequest(CacheService.execute.path, passThrough, passThrough, new Metadata(), {});
    this.#stream = stream;
    this.#isBlocked = false;
    stream.on('data', (message: Buffer) => {
      try {
        readExecuteResponse(message, this);
      } catch (error) {
        stream.cancel();
        this.#closed(stream, `the node sent what cannot be read: ${String(error)}`);
      }
    });
    stream.on('drain', () => {
      if (this.#stream !== stream) return;
      this.#isBlocked = false;
      this.#flush();
    });
    stream.on('error', (error) => this.#closed(stream, error.message));
    stream.on('status', () => this.#closed(stream, 'the node ended the stream'));
    this.#options.listener.onConnection(this.address, true, '');
    this.#scheduleFlush();
  }

  #closed(stream: ExecuteStream, cause: string): void {
    if (this.#stream !== stream) return;
    // Answers that arrived before the status may still lie in the stream; reading emits them as 'data'.
    while (stream.read() !== null);
    this.#stream = undefined;
    this.#options.listener.onConnection(this.address, false, cause);
    this.#reopenTimer = setTimeout(() => {
      this.#reopenTimer = undefined;
      if (this.#queue.count > 0) this.#connect();
    }, REOPEN_PAUSE_MS);
    this.#loseInFlight(cause);
  }

  /** What is in flight, in the order in which it was handed over. */
  #inOrder(): RoutedOperation[] {
    return [...this.#inFlight.values()].sort((a, b) => a.wireId - b.wireId);
  }

  #loseAll(cause: string): void {
    this.#loseInFlight(cause);
    this.#loseQueue(cause);
  }

  #loseInFlight(cause: string): void {
    const lost = this.#inOrder();
    this.#inFlight.clear();
    this.#sendingParts.clear();
    this.#inFlightBytes = 0;
    for (const operation of lost) this.#lose(operation, true, cause);
  }

  #loseQueue(cause: string): void {
    const lost: RoutedOperation[] = [];
    for (let next = this.#queue.first; next !== undefined; next = this.#queue.first) {
      this.#queue.remove(next);
      lost.push(next);
    }
    for (const operation of lost) this.#lose(operation, false, cause);
  }

  #lose(operation: RoutedOperation, handedOver: boolean, cause: string): void {
    if (operation.state === OP_STATE.DONE) return; // ended while its neighbours were told
    operation.holder = undefined;
    operation.resultParts = undefined;
    this.#options.listener.onLost(operation, handedOver, cause);
  }
}

import { Client, Metadata, connectivityState, credentials, type ClientDuplexStream } from '@grpc/grpc-js';
import { CacheService } from '@atoll/contracts/atoll/v1/cache';
import { AtollError } from '@atoll/core-errors';
import { MIB, NumberMap } from '@atoll/core-runtime';
import { createChannelOptions, fromServiceError } from '@atoll/platform-grpc';
import { BATCH_OPERATIONS_MAX, encodeExecuteRequest, readExecuteResponse, type OutgoingOperation, type ResultVisitor } from '@atoll/platform-wire';
import { STATE, type Operation } from './operation.ts';
import { OperationQueue } from './operation-queue.ts';
import type { Transport, TransportListener } from './transport.ts';

export interface RouterTransportOptions {
  /** host:port. */
  readonly address: string;
  readonly nowMs: () => number;
  readonly listener: TransportListener;
}

type ExecuteStream = ClientDuplexStream<Buffer, Buffer>;

const BATCH_BYTES_MAX = 4 * MIB;
const REOPEN_PAUSE_MS = 100;
const CONNECT_CHECK_MS = 1000;
const EMPTY: Buffer = Buffer.alloc(0);
const passThrough = (bytes: Buffer): Buffer => bytes;

/** One Execute stream to one router, opened when first needed and again when it broke. */
export class RouterTransport implements Transport, ResultVisitor {
  readonly address: string;
  readonly client: Client;
  readonly #nowMs: () => number;
  readonly #listener: TransportListener;
  /** Handed to the stream, by the id there. */
  readonly #sent = new NumberMap<Operation>();
  readonly #queue = new OperationQueue();
  readonly #sendingParts = new Map<Operation, number>();
  #lastId = 0;
  #stream: ExecuteStream | undefined;
  #isConnecting = false;
  #isFlushScheduled = false;
  #isBlocked = false;
  #isClosed = false;
  #reopenTimer: NodeJS.Timeout | undefined;

  constructor(options: RouterTransportOptions) {
    this.address = options.address;
    this.#nowMs = options.nowMs;
    this.#listener = options.listener;
    this.client = new Client(options.address, credentials.createInsecure(), createChannelOptions({ traffic: 'bulk' }));
  }

  get isConnected(): boolean {
    return this.#stream !== undefined;
  }

  submit(operation: Operation): void {
    operation.state = STATE.QUEUED;
    this.#queue.push(operation);
    this.#scheduleFlush();
  }

  drop(operation: Operation): void {
    if (!this.#queue.remove(operation)) this.#forget(operation);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#reopenTimer);
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
    this.client.close();
    const cause = new AtollError('CANCELLED', 'the client was closed');
    this.#loseSent(true, cause);
    this.#loseQueue(cause);
  }

  onResult(id: number, kind: number, body: Buffer, valueBytes: number): void {
    const operation = this.#sent.get(id);
    if (operation === undefined) return; // its deadline passed
    if (valueBytes > 0) {
      operation.resultBody = body;
      operation.resultParts = [];
      operation.resultBytesMissing = valueBytes;
      return;
    }
    this.#forget(operation);
    this.#listener.onResult(operation, kind, body, undefined);
  }

  onPart(id: number, data: Buffer): void {
    const operation = this.#sent.get(id);
    if (operation?.resultParts === undefined) return;
    operation.resultParts.push(data);
    operation.resultBytesMissing -= data.length;
    if (operation.resultBytesMissing > 0) return;
    this.#forget(operation);
    this.#listener.onResult(operation, operation.kind - 1, operation.resultBody ?? EMPTY, operation.resultParts);
  }

  #forget(operation: Operation): void {
    this.#sent.delete(operation.wireId);
    this.#sendingParts.delete(operation);
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

  #sendBatch(stream: ExecuteStream): boolean {
    if (this.#queue.count === 0) return false;
    const nowMs = this.#nowMs();
    const batch: OutgoingOperation[] = [];
    let bytes = 0;
    for (let operation = this.#queue.first; operation !== undefined; operation = this.#queue.first) {
      if (batch.length >= BATCH_OPERATIONS_MAX || (batch.length > 0 && bytes + operation.body.length > BATCH_BYTES_MAX)) break;
      this.#queue.remove(operation);
      bytes += operation.body.length;
      batch.push(this.#takeOff(operation, nowMs));
    }
    if (!stream.write(encodeExecuteRequest(batch, []))) this.#isBlocked = true;
    return true;
  }

  #takeOff(operation: Operation, nowMs: number): OutgoingOperation {
    this.#lastId += 1;
    operation.wireId = this.#lastId;
    operation.state = STATE.SENT;
    operation.sentAtMs = nowMs;
    operation.resultParts = undefined;
    this.#sent.set(this.#lastId, operation);
    if (operation.valueBytes > 0) this.#sendingParts.set(operation, 0);
    const remainingMs = operation.deadlineAtMs - nowMs;
    return {
      id: this.#lastId,
      // A little less than the caller waits, so that it hears what the router knows.
      deadlineMs: Math.max(1, Math.floor(remainingMs - Math.min(50, Math.max(15, remainingMs / 10), remainingMs / 2))),
      traceparent: operation.traceparent,
      valueBytes: operation.valueBytes,
      kind: operation.kind,
      body: operation.body,
      tail: operation.tailAt(nowMs),
    };
  }

  /** One part of each large value, so that they take turns. False when there is none. */
  #sendParts(stream: ExecuteStream): boolean {
    if (this.#sendingParts.size === 0) return false;
    for (const [operation, index] of this.#sendingParts) {
      if (index + 1 >= operation.parts.length) this.#sendingParts.delete(operation);
      else this.#sendingParts.set(operation, index + 1);
      if (stream.write(encodeExecuteRequest([], [{ id: operation.wireId, data: operation.parts[index]! }]))) continue;
      this.#isBlocked = true;
      break;
    }
    return true;
  }

  #connect(): void {
    if (this.#isConnecting || this.#isClosed || this.#reopenTimer !== undefined) return;
    const channel = this.client.getChannel();
    const state = channel.getConnectivityState(true);
    if (state === connectivityState.READY) return this.#open();
    if (state === connectivityState.TRANSIENT_FAILURE) this.#loseQueue(new AtollError('PEER_UNAVAILABLE', `router ${this.address} cannot be reached`));
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
        this.#closed(stream, new AtollError('INTERNAL', 'the router sent what cannot be read', { cause: error }));
      }
    });
    stream.on('drain', () => {
      if (this.#stream !== stream) return;
      this.#isBlocked = false;
      this.#flush();
    });
    stream.on('error', (error) => this.#closed(stream, fromServiceError(error)));
    // Without an error the status is OK; 'end' alone may precede the error that says why.
    stream.on('status', () => this.#closed(stream, new AtollError('PEER_UNAVAILABLE', `router ${this.address} ended the stream`)));
    this.#scheduleFlush();
  }

  #closed(stream: ExecuteStream, cause: AtollError): void {
    if (this.#stream !== stream) return;
    // Answers that arrived before the status may still lie in the stream; reading emits them as 'data'.
    while (stream.read() !== null);
    this.#stream = undefined;
    this.#reopenTimer = setTimeout(() => {
      this.#reopenTimer = undefined;
      if (this.#queue.count > 0) this.#connect();
    }, REOPEN_PAUSE_MS);
    // A router that stops answers all that it read before it ends the stream: the rest never left it.
    this.#loseSent(cause.reason !== 'SHUTTING_DOWN', cause);
  }

  #loseSent(wasTaken: boolean, cause: AtollError): void {
    // In the order in which they were handed over.
    const lost = [...this.#sent.values()].sort((a, b) => a.wireId - b.wireId);
    this.#sent.clear();
    this.#sendingParts.clear();
    for (const operation of lost) if (operation.state !== STATE.DONE) this.#listener.onLost(operation, wasTaken, cause);
  }

  #loseQueue(cause: AtollError): void {
    for (const operation of this.#queue.drain()) if (operation.state !== STATE.DONE) this.#listener.onLost(operation, false, cause);
  }
}

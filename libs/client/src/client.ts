import { randomBytes, randomInt } from 'node:crypto';
import {
  DeleteRequest,
  DeleteResponse,
  IncrementRequest,
  IncrementResponse,
  TouchRequest,
  TouchResponse,
  type GetRequest,
  type OpId,
  type SetRequest,
} from '@atoll/contracts/atoll/v1/cache';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { WIRE_PART_BYTES_MAX } from '@atoll/core-runtime';
import { OPERATION, checkGet, checkKey, checkTtl, decodeGetResponse, decodeSetResponse, encodeGetRequest, encodeSetRequest } from '@atoll/platform-wire';
import { detach, toBuffer, type Bytes } from './bytes.ts';
import type { Entry, IncrementResult, ScannedEntry, TouchResult, WriteResult } from './entry.ts';
import { Executor } from './executor.ts';
import { Operation } from './operation.ts';
import type {
  CallOptions,
  ClientOptions,
  DeleteOptions,
  IncrementOptions,
  NewEntry,
  Outcome,
  ReadOptions,
  ScanOptions,
  SetOptions,
  TouchOptions,
  WatchOptions,
  WriteOptions,
} from './options.ts';
import { LocksClient } from './locks/locks-client.ts';
import { RouterTransport } from './router-transport.ts';
import { scan } from './scan.ts';
import { Session } from './session.ts';
import { RouterPicker } from './transport.ts';
import { Watch } from './watch.ts';

const EMPTY: Buffer = Buffer.alloc(0);
const CONSISTENCY = { STRONG: 1, BOUNDED: 2, EVENTUAL: 3 } as const;
const ACK = { IN_SYNC: 1, LEADER: 2 } as const;
const CONDITION = { IF_ABSENT: 2, IF_PRESENT: 3, IF_VERSION: 4 } as const;
const MANY_MAX = 10_000;

type Decode<T> = (body: Buffer, parts: readonly Buffer[] | undefined, session: Session | undefined) => T;

/**
 * A client of an Atoll cluster. What one turn of the event loop issues leaves in one message; every call has a
 * deadline; failures are AtollErrors with a `reason`. Operations on one key take effect in the order called, as
 * long as one router is used; while a partition changes leaders a `get` may also see a write that was called after it.
 * Made by `createClient`.
 */
export class AtollClient {
  readonly #options: Required<Omit<ClientOptions, 'routers' | 'coordinators'>>;
  readonly #coordinators: readonly string[];
  #locks: LocksClient | undefined;
  readonly #executor: Executor;
  readonly #clientId = randomBytes(16);
  #opCounter = 0;

  constructor(options: ClientOptions) {
    if (options.routers.length === 0) throw invalidArgument('routers', 'must name at least one host:port');
    this.#options = {
      keyspace: options.keyspace ?? '',
      deadlineMs: options.deadlineMs ?? 5000,
      maxInFlight: options.maxInFlight ?? 1024,
      maxQueued: options.maxQueued ?? 100_000,
      traceparent: options.traceparent ?? (() => undefined),
    };
    this.#coordinators = options.coordinators ?? [];
    const nowMs = (): number => performance.now();
    this.#executor = new Executor({
      maxInFlight: this.#options.maxInFlight,
      maxQueued: this.#options.maxQueued,
      nowMs,
      createPicker: (listener) =>
        new RouterPicker(
          options.routers.map((address) => new RouterTransport({ address, nowMs, listener })),
          randomInt(2 ** 16),
        ),
    });
  }

  /** Reads one entry; undefined when the key has none. */
  get(key: Bytes, options: ReadOptions = {}): Promise<Entry | undefined> {
    return this.#run(OPERATION.GET, options, () => ({ body: encodeGetRequest(this.#getRequest(toBuffer(key), options)) }), decodeEntry);
  }

  /** Writes one entry. `applied` is false when its condition did not hold. */
  set(key: Bytes, value: Bytes, options: SetOptions = {}): Promise<WriteResult> {
    return this.#run(OPERATION.SET, options, () => this.#setBody(toBuffer(key), toBuffer(value), options), decodeWrite);
  }

  /** Removes one entry. */
  delete(key: Bytes, options: DeleteOptions = {}): Promise<WriteResult> {
    return this.#run(OPERATION.DELETE, options, () => this.#deleteBody(toBuffer(key), options), decodeDelete);
  }

  /** Adds to an integer that is stored as decimal text. Throws VALUE_NOT_INTEGER, INTEGER_OVERFLOW. */
  increment(key: Bytes, delta: bigint | number = 1, options: IncrementOptions = {}): Promise<IncrementResult> {
    const create = () => {
      const { ttlMs = 0, initial = 0 } = options;
      const request = { ...this.#write(toBuffer(key), options), delta: toInt64('delta', delta), initial: toInt64('initial', initial), ttlMs };
      checkTtl(ttlMs, false);
      return { body: asBuffer(IncrementRequest.encode(request).finish()) };
    };
    return this.#run(OPERATION.INCREMENT, options, create, decodeIncrement);
  }

  /** Replaces the expiry of an entry. */
  touch(key: Bytes, options: TouchOptions = {}): Promise<TouchResult> {
    const create = () => {
      const { ttlMs = 0, noExpiry = false } = options;
      checkTtl(ttlMs, noExpiry);
      return { body: asBuffer(TouchRequest.encode({ ...this.#write(toBuffer(key), options), ttlMs, noExpiry }).finish()) };
    };
    return this.#run(OPERATION.TOUCH, options, create, decodeTouch);
  }

  /** Reads several entries; each key has an outcome of its own, in the order asked. */
  getMany(keys: readonly Bytes[], options: ReadOptions = {}): Promise<Outcome<Entry | undefined>[]> {
    return settle(keys, 'keys', (key) => this.get(key, options));
  }

  /** Writes several entries; each has an outcome of its own: this is no transaction. */
  setMany(entries: readonly NewEntry[], options: WriteOptions = {}): Promise<Outcome<WriteResult>[]> {
    return settle(entries, 'entries', ({ key, value, ...expiry }) => this.set(key, value, { ...options, ...expiry }));
  }

  /** Removes several entries; each key has an outcome of its own. */
  deleteMany(keys: readonly Bytes[], options: WriteOptions = {}): Promise<Outcome<WriteResult>[]> {
    return settle(keys, 'keys', (key) => this.delete(key, options));
  }

  /**
   * Lists entries in no order that means anything. A key that lives through the whole scan comes at least once,
   * also when partitions change hands meanwhile. Leaving the loop ends the scan. A deadline is set only when
   * asked for.
   */
  scan(options: ScanOptions = {}): AsyncGenerator<ScannedEntry, void, undefined> {
    return scan(this.#executor.picker.transports(), { ...options, keyspace: options.keyspace ?? this.#options.keyspace });
  }

  /**
   * Tells the changes of a keyspace, from now on or from where an earlier watch stopped, each at least once and in order
   * for each key. To follow a keyspace from its present contents on: watch, wait for `onReady`, then scan.
   */
  watch(options: WatchOptions = {}): Watch {
    return new Watch(this.#executor.picker.transports(), { ...options, keyspace: options.keyspace ?? this.#options.keyspace });
  }

  /** A session for read-your-writes: pass it with the calls that belong together. `token` goes on with an earlier one. */
  session(token?: Uint8Array): Session {
    return new Session(token);
  }

  /** Locks by name and on ranges of tokens. Throws INVALID_ARGUMENT when the client was made without `coordinators`. */
  get locks(): LocksClient {
    return (this.#locks ??= new LocksClient({ coordinators: this.#coordinators, keyspace: this.#options.keyspace, deadlineMs: this.#options.deadlineMs }));
  }

  /** Operations without an answer yet. */
  get pendingCount(): number {
    return this.#executor.count;
  }

  /** Ends what is under way and closes the connections; nothing keeps the process alive then. */
  close(): void {
    this.#locks?.close();
    this.#executor.close();
  }

  #run<T>(kind: number, options: CallOptions, create: () => { readonly body: Buffer; readonly largeValue?: Buffer }, decode: Decode<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const { signal, session } = options;
      if (signal?.aborted === true) throw new AtollError('CANCELLED', 'the call was cancelled before it was sent', { cause: signal.reason });
      const isWrite = kind !== OPERATION.GET;
      const request = create();
      const operation = new Operation({
        ...request,
        kind,
        isWrite,
        opId: isWrite ? this.#lastOpId() : undefined,
        deadlineAtMs: performance.now() + (options.deadlineMs ?? this.#options.deadlineMs),
        traceparent: this.#options.traceparent() ?? '',
        onDone: (error, body, parts) => {
          if (signal !== undefined) signal.removeEventListener('abort', onAbort);
          if (error !== undefined) return reject(error);
          try {
            resolve(decode(body, parts, session));
          } catch (problem) {
            reject(problem);
          }
        },
      });
      const onAbort = (): void => this.#executor.cancel(operation, signal?.reason);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#executor.submit(operation);
    });
  }

  #getRequest(key: Buffer, options: ReadOptions): GetRequest {
    const request: GetRequest = {
      keyspace: options.keyspace ?? this.#options.keyspace,
      key,
      consistency: options.consistency === undefined ? 0 : CONSISTENCY[options.consistency],
      maxStalenessMs: options.maxStalenessMs ?? 0,
      session: options.session?.token ?? EMPTY,
      fence: options.fence,
    };
    checkGet(request);
    return request;
  }

  #setBody(key: Buffer, value: Buffer, options: SetOptions): { readonly body: Buffer; readonly largeValue?: Buffer } {
    const { ttlMs = 0, noExpiry = false, only, ifVersion } = options;
    if (only !== undefined && ifVersion !== undefined) throw invalidArgument('only', 'cannot be combined with ifVersion');
    checkTtl(ttlMs, noExpiry);
    const isLarge = value.length > WIRE_PART_BYTES_MAX;
    const request: SetRequest = {
      ...this.#write(key, options),
      value: isLarge ? EMPTY : value,
      ttlMs,
      noExpiry,
      condition: ifVersion === undefined ? (only === undefined ? 0 : CONDITION[only]) : CONDITION.IF_VERSION,
      expectedVersion: ifVersion === undefined ? EMPTY : toBuffer(ifVersion),
    };
    const body = encodeSetRequest(request);
    return isLarge ? { body, largeValue: value } : { body };
  }

  #deleteBody(key: Buffer, options: DeleteOptions): { readonly body: Buffer } {
    const expectedVersion = options.ifVersion === undefined ? EMPTY : toBuffer(options.ifVersion);
    return { body: asBuffer(DeleteRequest.encode({ ...this.#write(key, options), expectedVersion }).finish()) };
  }

  /** What all writes have. */
  #write(key: Buffer, options: WriteOptions): Pick<SetRequest, 'keyspace' | 'key' | 'ack' | 'opId' | 'session' | 'fence'> {
    checkKey(key);
    this.#opCounter += 1;
    return {
      keyspace: options.keyspace ?? this.#options.keyspace,
      key,
      ack: options.ack === undefined ? 0 : ACK[options.ack],
      opId: this.#lastOpId(),
      session: options.session?.token ?? EMPTY,
      fence: options.fence,
    };
  }

  /** Of the write that is being made. */
  #lastOpId(): OpId {
    return { clientId: this.#clientId, counter: this.#opCounter, repeatAgeMs: 0 };
  }
}

/** A client of the routers named. Nothing is sent before the first call. */
export function createClient(options: ClientOptions): AtollClient {
  return new AtollClient(options);
}

const decodeEntry: Decode<Entry | undefined> = (body, parts, session) => {
  const { found, value, version, expiresAtMs, session: token } = decodeGetResponse(body);
  session?.observe(token);
  if (!found) return undefined;
  return { value: parts === undefined ? detach(value) : Buffer.concat(parts), version: Buffer.from(version), expiresAtMs: expiresAtMs || undefined };
};

const decodeWrite: Decode<WriteResult> = (body, _parts, session) => {
  const { applied, version, session: token } = decodeSetResponse(body);
  session?.observe(token);
  return { applied, version: Buffer.from(version) };
};

const decodeDelete: Decode<WriteResult> = (body, _parts, session) => {
  const { applied, version, session: token } = DeleteResponse.decode(body);
  session?.observe(token);
  return { applied, version };
};

const decodeIncrement: Decode<IncrementResult> = (body, _parts, session) => {
  const { value, version, session: token } = IncrementResponse.decode(body);
  session?.observe(token);
  return { value, version };
};

const decodeTouch: Decode<TouchResult> = (body, _parts, session) => {
  const { found, version, expiresAtMs, session: token } = TouchResponse.decode(body);
  session?.observe(token);
  return { found, version, expiresAtMs: expiresAtMs || undefined };
};

async function settle<Item, T>(items: readonly Item[], field: string, run: (item: Item) => Promise<T>): Promise<Outcome<T>[]> {
  if (items.length > MANY_MAX) throw invalidArgument(field, `must be at most ${MANY_MAX}, not ${items.length}`);
  const settled = await Promise.allSettled(items.map((item) => run(item)));
  return settled.map((outcome) => (outcome.status === 'fulfilled' ? { ok: true, value: outcome.value } : { ok: false, error: outcome.reason as AtollError }));
}

function toInt64(field: string, value: bigint | number): bigint {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) throw invalidArgument(field, `must be a whole number within 53 bits, or a bigint, not ${value}`);
  const integer = BigInt(value);
  if (BigInt.asIntN(64, integer) !== integer) throw invalidArgument(field, 'must fit into 64 bits');
  return integer;
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

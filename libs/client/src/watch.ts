import { setTimeout as pause } from 'node:timers/promises';
import { Metadata, type ClientReadableStream } from '@grpc/grpc-js';
import { CacheService, type WatchEvent, type WatchRequest, type WatchResponse } from '@atoll/contracts/atoll/v1/cache';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { fromServiceError } from '@atoll/platform-grpc';
import { WATCH_PROGRESS_MS_DEFAULT, checkWatch, watchedPartition } from '@atoll/platform-wire';
import { toBuffer } from './bytes.ts';
import type { WatchOptions } from './options.ts';
import type { Transport } from './transport.ts';

/** One change of one key. */
export interface WatchChange {
  /** PUT: written, or given another expiry. EXPIRE: its time was over. EVICT: removed to make room. */
  readonly kind: 'PUT' | 'DELETE' | 'EXPIRE' | 'EVICT';
  readonly partition: number;
  readonly key: Buffer;
  /** Of a PUT, unless `keysOnly`. */
  readonly value: Buffer;
  /** Opaque; grows along the changes of a partition. */
  readonly version: Buffer;
  /** Milliseconds since the Unix epoch; undefined: it does not expire. */
  readonly expiresAtMs: number | undefined;
  /** The partition's time at the write, in milliseconds since the Unix epoch. */
  readonly stampMs: number;
}

/** Changes of one partition that were missed: what is known of it must be read again. Only with `onGap: 'REPORT'`. */
export interface WatchGapReport {
  readonly kind: 'GAP';
  readonly partition: number;
  readonly reason: 'WATCH_COMPACTED' | 'WATCH_RESET';
}

const KINDS = ['PUT', 'PUT', 'DELETE', 'EXPIRE', 'EVICT'] as const;
/** What repeating cannot mend. */
const FATAL: ReadonlySet<string> = new Set(['WATCH_COMPACTED', 'WATCH_RESET', 'WATCH_POSITION_MALFORMED', 'INVALID_ARGUMENT', 'KEYSPACE_NOT_FOUND']);
const PAUSE_MS_MIN = 20;
const PAUSE_MS_MAX = 1000;
const PATIENCE_MS = 60_000;
/** Intervals of silence after which a router counts as gone. */
const SILENT_INTERVALS = 5;
const POSITION_BYTES = 31;

/**
 * The changes of a keyspace as they happen: `for await (const change of watch)`. When a router fails it goes on at the
 * next one behind what was read; each change comes at least once. Leaving the loop ends it.
 */
export class Watch implements AsyncIterable<WatchChange | WatchGapReport> {
  readonly #transports: readonly Transport[];
  readonly #options: WatchOptions;
  readonly #request: WatchRequest;
  readonly #positions: Map<number, Buffer>;
  #isStarted = false;
  #isReady = false;

  /** Throws INVALID_ARGUMENT, WATCH_POSITION_MALFORMED. */
  constructor(transports: readonly Transport[], options: WatchOptions & { readonly keyspace: string }) {
    this.#transports = transports;
    this.#options = options;
    this.#positions = splitPosition(toBuffer(options.position ?? ''));
    this.#request = {
      keyspace: options.keyspace,
      partitions: [...(options.partitions ?? [])],
      positions: [],
      prefix: toBuffer(options.prefix ?? ''),
      keysOnly: options.keysOnly ?? false,
      progressMs: options.progressMs ?? 0,
      skipGaps: options.onGap === 'REPORT',
      fromOldest: options.fromOldest ?? false,
      afterVersion: toBuffer(options.afterVersion ?? ''),
    };
    checkWatch({ ...this.#request, positions: [...this.#positions.values()] });
  }

  /**
   * How far the changes were read: everything that the loop has gone past. Give it to another `watch` to go on; opaque,
   * 31 bytes per partition.
   */
  get position(): Buffer {
    return Buffer.concat([...this.#positions.values()]);
  }

  /** One loop per watch. */
  [Symbol.asyncIterator](): AsyncGenerator<WatchChange | WatchGapReport, void, undefined> {
    if (this.#isStarted) throw invalidArgument('watch', 'is read by another loop already');
    this.#isStarted = true;
    return this.#run();
  }

  async *#run(): AsyncGenerator<WatchChange | WatchGapReport, void, undefined> {
    const { signal, patienceMs = PATIENCE_MS } = this.#options;
    let failures = 0;
    let heardMs = performance.now();
    for (let index = 0; ; index += 1) {
      signal?.throwIfAborted();
      try {
        for await (const response of this.#read(this.#transports[index % this.#transports.length]!)) {
          failures = 0;
          yield* this.#take(response);
          heardMs = performance.now();
        }
        throw new AtollError('PEER_UNAVAILABLE', 'the router ended the watch');
      } catch (error) {
        const failure = fromServiceError(error);
        signal?.throwIfAborted();
        failures += 1;
        if (FATAL.has(failure.reason) || performance.now() - heardMs > patienceMs) throw failure;
        await pause(Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** Math.min(failures, 10)), undefined, signal === undefined ? {} : { signal });
      }
    }
  }

  *#take({ events, gaps, positions, placed }: WatchResponse): Generator<WatchChange | WatchGapReport, void, undefined> {
    for (const { partition, reason } of gaps) yield { kind: 'GAP', partition, reason: reason as WatchGapReport['reason'] };
    for (const event of events) yield toChange(event);
    for (const position of positions) this.#positions.set(watchedPartition(position), position);
    if (!placed || this.#isReady) return;
    this.#isReady = true;
    this.#options.onReady?.();
  }

  async *#read(transport: Transport): AsyncGenerator<WatchResponse, void, undefined> {
    const { signal } = this.#options;
    const positions = [...this.#positions.values()];
    const request = { ...this.#request, positions, afterVersion: positions.length === 0 ? this.#request.afterVersion : Buffer.alloc(0) };
    const { path, requestSerialize, responseDeserialize } = CacheService.watch;
    const call: ClientReadableStream<WatchResponse> = transport.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, new Metadata(), {});
    const silentMs = (request.progressMs === 0 ? WATCH_PROGRESS_MS_DEFAULT : request.progressMs) * SILENT_INTERVALS;
    // Runs only while a message is waited for: a slow loop is no silence.
    let timer: NodeJS.Timeout | undefined;
    const listen = (): void => void (timer = setTimeout(() => call.destroy(new AtollError('PEER_UNAVAILABLE', 'the router is silent')), silentMs));
    const onAbort = (): void => call.cancel();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      listen();
      for await (const response of call as AsyncIterable<WatchResponse>) {
        clearTimeout(timer);
        yield response;
        listen();
      }
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      call.on('error', () => undefined);
      call.cancel();
    }
  }
}

function toChange({ kind, partition, key, value, version, expiresAtMs, stampMs }: WatchEvent): WatchChange {
  return { kind: KINDS[kind] ?? 'PUT', partition, key, value, version, expiresAtMs: expiresAtMs || undefined, stampMs };
}

function splitPosition(position: Buffer): Map<number, Buffer> {
  if (position.length % POSITION_BYTES !== 0) {
    throw new AtollError('WATCH_POSITION_MALFORMED', 'position: is not one that a watch gave out', { metadata: { field: 'position' } });
  }
  const positions = new Map<number, Buffer>();
  for (let at = 0; at < position.length; at += POSITION_BYTES) {
    const one = Buffer.from(position.subarray(at, at + POSITION_BYTES));
    positions.set(watchedPartition(one), one);
  }
  return positions;
}

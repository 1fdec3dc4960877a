import { Metadata, type ClientReadableStream, type ServerWritableStream } from '@grpc/grpc-js';
import { setTimeout as pause } from 'node:timers/promises';
import { CacheService, type ScanRequest } from '@atoll/contracts/atoll/v1/cache';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { keyspaceNotFound } from '@atoll/core-membership';
import { DEFAULT_KEYSPACE } from '@atoll/core-runtime';
import { fromServiceError, writeWithBackpressure, type CallContext } from '@atoll/platform-grpc';
import { WireReader, checkScan, decodeCursor, encodeCursor } from '@atoll/platform-wire';
import { bytesField } from '../domain/intake.ts';
import { judgeFailure, retryPauseMs } from '../domain/retry-rules.ts';
import type { KeyspaceRoute } from '../domain/routing-table.ts';
import type { HandlerDeps } from './router-context.ts';

const EMPTY: Buffer = Buffer.alloc(0);
const CURSOR_FIELD = 2;
const CONSISTENCY_BOUNDED = 2;
/** Time without an entry or a finished partition after which a scan without a deadline gives up. */
const PATIENCE_MS = 10_000;

/**
 * Partition by partition, each from its node; what has been written is never asked again, because every response
 * ends with a cursor that any replica understands (R32). A failed partition goes on at its new leader.
 */
export async function handleScan(call: ServerWritableStream<ScanRequest, Buffer>, context: CallContext, deps: HandlerDeps): Promise<void> {
  const { request } = call;
  checkScan(request);
  const route = routeOf(request, deps);
  const { partitionCount } = route.spec;
  if (request.partition !== undefined && request.partition >= partitionCount) {
    throw invalidArgument('partition', `must be below ${partitionCount}, not ${request.partition}`);
  }
  const start = decodeCursor(request.cursor, { tag: route.cursorTag, partitionCount });
  if (start !== undefined && request.partition !== undefined && start.partition !== request.partition) {
    throw new AtollError('CURSOR_MALFORMED', 'cursor: belongs to another partition', { metadata: { field: 'cursor' } });
  }
  const scan = new PartitionScan(call, context, deps, route);
  const first = start?.partition ?? request.partition ?? 0;
  const last = request.partition ?? partitionCount - 1;
  for (let partition = first; partition <= last; partition += 1) {
    const next = partition === last ? EMPTY : encodeCursor(route.cursorTag, { partition: partition + 1, position: { high: 0, low: 0 } });
    const isOver = await scan.run(partition, partition === first ? request.cursor : EMPTY, next);
    if (isOver) return;
  }
}

function routeOf(request: ScanRequest, deps: HandlerDeps): KeyspaceRoute {
  const name = request.keyspace === '' ? DEFAULT_KEYSPACE : request.keyspace;
  const route = deps.routing().table.keyspace(name);
  if (route === undefined) throw keyspaceNotFound(name);
  return route;
}

/** One scan's way through its partitions. */
class PartitionScan {
  readonly #call: ServerWritableStream<ScanRequest, Buffer>;
  readonly #context: CallContext;
  readonly #deps: HandlerDeps;
  readonly #route: KeyspaceRoute;
  /** Entries that may still be returned; Infinity without a limit. */
  #remaining: number;

  constructor(call: ServerWritableStream<ScanRequest, Buffer>, context: CallContext, deps: HandlerDeps, route: KeyspaceRoute) {
    this.#call = call;
    this.#context = context;
    this.#deps = deps;
    this.#route = route;
    this.#remaining = call.request.limit === 0 ? Infinity : call.request.limit;
  }

  /**
   * Returns a partition's entries from `cursor` on; `next` is the cursor behind the partition. True: the scan is
   * over, because the limit was reached.
   */
  async run(partition: number, cursor: Buffer, next: Buffer): Promise<boolean> {
    const { nowMs } = this.#deps;
    let position = cursor;
    let progressAtMs = nowMs();
    let useLeader = this.#call.request.consistency < CONSISTENCY_BOUNDED;
    for (let attempts = 1; ; attempts += 1) {
      const target = this.#deps.routing().dispatcher.targetOf(this.#route.partitions[partition]!, useLeader);
      let failure = new AtollError('PARTITION_UNAVAILABLE', `partition ${partition} has no leader`);
      if (target !== '') {
        try {
          for await (const message of this.#read(target, partition, position)) {
            progressAtMs = nowMs();
            attempts = 1;
            const { entries, cursor: behind } = look(message);
            this.#remaining -= entries;
            position = behind;
            if (await this.#forward(message, entries, behind, next)) return true;
            if (behind.length === 0) return false;
          }
          failure = new AtollError('PEER_UNAVAILABLE', 'the storage node ended the scan early');
        } catch (error) {
          failure = fromServiceError(error);
          this.#context.signal.throwIfAborted();
          const verdict = judgeFailure({ cause: failure.reason, wasAtLeader: useLeader });
          if (verdict === 'fail') throw failure;
          if (verdict === 'leader') useLeader = true;
        }
      }
      if (nowMs() - progressAtMs > PATIENCE_MS) throw failure;
      await pause(retryPauseMs(attempts, Math.random()), undefined, { signal: this.#context.signal });
    }
  }

  /** Writes what came from a node, with the cursor of the whole scan. True: the limit was reached. */
  async #forward(message: Buffer, entries: number, behind: Buffer, next: Buffer): Promise<boolean> {
    const isPartitionDone = behind.length === 0;
    const isScanDone = isPartitionDone && next.length === 0;
    if (entries > 0 || isScanDone) {
      const whole = isPartitionDone && !isScanDone ? Buffer.concat([message, bytesField(CURSOR_FIELD, next)]) : message;
      await writeWithBackpressure(this.#call, whole, this.#context.signal);
    }
    return this.#remaining <= 0 && !isScanDone;
  }

  /** A partition's responses from one node, no faster than they are taken. */
  async *#read(target: string, partition: number, cursor: Buffer): AsyncGenerator<Buffer, void, undefined> {
    const { request } = this.#call;
    const limit = this.#remaining === Infinity ? 0 : this.#remaining;
    const metadata = new Metadata();
    if (this.#context.traceparent !== undefined) metadata.set('traceparent', this.#context.traceparent);
    const call: ClientReadableStream<Buffer> = this.#deps
      .routing()
      .dispatcher.linkTo(target)
      .client.makeServerStreamRequest(CacheService.scan.path, CacheService.scan.requestSerialize, (bytes: Buffer) => bytes, { ...request, keyspace: this.#route.spec.name, cursor, limit, partition }, metadata, {});
    const { signal } = this.#context;
    const onAbort = (): void => call.cancel();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      yield* call as AsyncIterable<Buffer>;
    } finally {
      signal.removeEventListener('abort', onAbort);
      call.on('error', () => undefined);
      call.cancel();
    }
  }
}

/** Number of entries and cursor of a ScanResponse, without decoding the entries. */
function look(message: Buffer): { readonly entries: number; readonly cursor: Buffer } {
  const reader = new WireReader(message);
  let entries = 0;
  let cursor: Buffer = EMPTY;
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === 18) cursor = reader.bytes();
    else {
      if (tag === 10) entries += 1;
      reader.skip(tag);
    }
  }
  return { entries, cursor };
}

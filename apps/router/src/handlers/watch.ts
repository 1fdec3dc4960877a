import type { ServerWritableStream } from '@grpc/grpc-js';
import type { WatchRequest, WatchResponse } from '@atoll/contracts/atoll/v1/cache';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { keyspaceNotFound } from '@atoll/core-membership';
import { DEFAULT_KEYSPACE } from '@atoll/core-runtime';
import { writePaced, type CallContext } from '@atoll/platform-grpc';
import { WATCH_PROGRESS_MS_DEFAULT, checkWatch, decodeWatchPosition, watchTag, watchedPartition } from '@atoll/platform-wire';
import { NodeWatch } from '../adapters/node-watch.ts';
import type { KeyspaceRoute } from '../domain/routing-table.ts';
import { WatchHomes } from '../domain/watch-homes.ts';
import type { HandlerDeps } from './router-context.ts';

const EMPTY: Buffer = Buffer.alloc(0);
/** `placed = true`, to be appended to a response. */
const PLACED = Buffer.of(40, 1);
/** What the client has to settle; after everything else the watch goes on where it was. */
const FATAL: ReadonlySet<string> = new Set(['WATCH_COMPACTED', 'WATCH_RESET', 'WATCH_POSITION_MALFORMED', 'INVALID_ARGUMENT']);
/** Silence of a node, in intervals at which it should say something, after which its stream counts as dead. */
const SILENT_INTERVALS = 5;

/**
 * One stream per leading node, merged as they come: order holds inside a partition, and there is none between
 * partitions. The router holds the position of every partition, so that one that changes hands goes on behind the last
 * message that the client was given (R36).
 */
export async function handleWatch(call: ServerWritableStream<WatchRequest, Buffer>, context: CallContext, deps: HandlerDeps): Promise<void> {
  const { request } = call;
  checkWatch(request);
  const name = request.keyspace === '' ? DEFAULT_KEYSPACE : request.keyspace;
  const { table, watches } = deps.routing();
  const route = table.keyspace(name);
  if (route === undefined) throw keyspaceNotFound(name);
  const partitions = partitionsOf(request, route.spec.partitionCount);
  const positions = positionsOf(request, route, partitions);
  watches.enter();
  const watch = new KeyspaceWatch({ call, context, deps, route, partitions, positions });
  try {
    await watch.run();
  } finally {
    watch.close();
    watches.leave();
  }
}

function partitionsOf({ partitions }: WatchRequest, count: number): readonly number[] {
  if (partitions.length === 0) return Array.from({ length: count }, (_, partition) => partition);
  for (const partition of partitions) {
    if (partition >= count) throw invalidArgument('partitions', `must be below ${count}, not ${partition}`);
  }
  return [...new Set(partitions)];
}

function positionsOf(request: WatchRequest, { spec }: KeyspaceRoute, partitions: readonly number[]): Map<number, Buffer> {
  const keyspace = { tag: watchTag(spec.id), partitionCount: spec.partitionCount };
  const watched = new Set(partitions);
  const positions = new Map<number, Buffer>();
  for (const position of request.positions) {
    const { partition } = decodeWatchPosition(position, keyspace);
    if (!watched.has(partition)) throw invalidArgument('positions', `name partition ${partition}, which is not watched`);
    positions.set(partition, position);
  }
  return positions;
}

interface KeyspaceWatchOptions {
  readonly call: ServerWritableStream<WatchRequest, Buffer>;
  readonly context: CallContext;
  readonly deps: HandlerDeps;
  readonly route: KeyspaceRoute;
  readonly partitions: readonly number[];
  /** Where each partition goes on; kept up. */
  readonly positions: Map<number, Buffer>;
}

class KeyspaceWatch {
  readonly #options: KeyspaceWatchOptions;
  readonly #homes: WatchHomes;
  readonly #nodes = new Map<string, NodeWatch>();
  readonly #progressMs: number;
  readonly #unsubscribe: () => void;
  #sentAtMs: number;
  #failure: AtollError | undefined;
  #wake: (() => void) | undefined;
  #isWoken = false;
  #isPlaced = false;

  constructor(options: KeyspaceWatchOptions) {
    const { call, deps, partitions } = options;
    this.#options = options;
    this.#homes = new WatchHomes(partitions);
    this.#progressMs = call.request.progressMs === 0 ? WATCH_PROGRESS_MS_DEFAULT : call.request.progressMs;
    this.#sentAtMs = deps.nowMs();
    this.#unsubscribe = deps.routing().onTable(() => this.#notify());
  }

  async run(): Promise<void> {
    const { call, context, deps } = this.#options;
    const placed = this.#placed(EMPTY);
    if (placed.length > 0) await this.#write(placed);
    for (;;) {
      const nowMs = deps.nowMs();
      if (nowMs - this.#sentAtMs >= this.#progressMs) await this.#write(EMPTY);
      const nextMs = this.#settle(nowMs);
      await this.#notified(Math.max(0, Math.min(nextMs, this.#sentAtMs + this.#progressMs) - deps.nowMs()), context.signal);
      if (this.#failure !== undefined) throw this.#failure;
      if (call.destroyed) return;
    }
  }

  close(): void {
    this.#unsubscribe();
    for (const node of this.#nodes.values()) node.close();
    this.#nodes.clear();
  }

  /** Opens streams so that each partition is watched at its leader. Answers when to look again at the latest. */
  #settle(nowMs: number): number {
    const { deps, route } = this.#options;
    const { table } = deps.routing();
    const present = table.keyspace(route.spec.name);
    if (present?.spec.id !== route.spec.id) throw keyspaceNotFound(route.spec.name);
    this.#endSilent(nowMs);
    const { homes, nextMs } = this.#homes.plan((partition) => present.partitions[partition]!.leader, nowMs);
    // First all that are over, so that no partition is watched at two nodes.
    for (const [address, node] of this.#nodes) if (homes.get(address)?.join() !== node.partitions.join()) this.#end(node);
    for (const [address, partitions] of homes) if (!this.#nodes.has(address)) this.#open(address, partitions);
    return nextMs;
  }

  #open(address: string, partitions: readonly number[]): void {
    const { call, context, deps, positions, route } = this.#options;
    const known = partitions.map((partition) => positions.get(partition)).filter((position) => position !== undefined);
    const afterVersion = known.length === 0 ? call.request.afterVersion : EMPTY;
    const node = new NodeWatch({
      address,
      client: deps.routing().dispatcher.linkTo(address).client,
      request: { ...call.request, keyspace: route.spec.name, partitions: [...partitions], positions: known, afterVersion, progressMs: this.#progressMs },
      traceparent: context.traceparent,
      nowMs: deps.nowMs,
      onMessage: (from, message, moved, ended) => this.#onMessage(from, message, moved, ended),
      onEnd: (from, error) => this.#onEnd(from, error),
    });
    this.#nodes.set(address, node);
  }

  async #onMessage(node: NodeWatch, message: Buffer, moved: readonly Buffer[], ended: WatchResponse['ended']): Promise<void> {
    if (node.isClosed) return;
    // A copy: a view would keep the whole message.
    for (const position of moved) this.#options.positions.set(watchedPartition(position), Buffer.from(position));
    this.#homes.served(node.partitions);
    for (const { partition, error } of ended) this.#giveUp(node, partition, error);
    if (ended.length > 0) this.#notify();
    // The write is begun in this turn, so that messages leave in the order in which positions were taken over.
    if (message.length > 0) await this.#write(this.#placed(message));
  }

  /** The message, which also tells when it is the one by which every partition has a position. */
  #placed(message: Buffer): Buffer {
    const { positions, partitions } = this.#options;
    if (this.#isPlaced || positions.size < partitions.length) return message;
    this.#isPlaced = true;
    return message.length === 0 ? PLACED : Buffer.concat([message, PLACED]);
  }

  #onEnd(node: NodeWatch, failure: AtollError): void {
    if (FATAL.has(failure.reason)) this.#failure = failure;
    const { deps } = this.#options;
    // One pause for all, so that they come back on one stream.
    const random = Math.random();
    for (const partition of node.partitions) this.#homes.rest(partition, node.address, deps.nowMs(), random);
    deps.routing().watches.moved(failure.reason, node.partitions.length);
    this.#end(node);
    this.#notify();
  }

  /** The node serves the partition no more; it may know who does. */
  #giveUp(node: NodeWatch, partition: number, error: WatchResponse['ended'][number]['error']): void {
    const { deps, route } = this.#options;
    const { table, watches } = deps.routing();
    const epoch = Number(error?.metadata['epoch']);
    const leaderAddress = error?.metadata['leader_address'] ?? '';
    if (Number.isSafeInteger(epoch)) table.takeHint(route, partition, { epoch, leaderAddress });
    this.#homes.rest(partition, node.address, deps.nowMs(), Math.random());
    watches.moved(error?.reason ?? 'INTERNAL', 1);
  }

  #endSilent(nowMs: number): void {
    for (const node of this.#nodes.values()) {
      if (nowMs - node.heardMs > this.#progressMs * SILENT_INTERVALS) this.#onEnd(node, new AtollError('PEER_UNAVAILABLE', 'the storage node is silent'));
    }
  }

  #end(node: NodeWatch): void {
    node.close();
    if (this.#nodes.get(node.address) === node) this.#nodes.delete(node.address);
  }

  async #write(message: Buffer): Promise<void> {
    const { call, context, deps } = this.#options;
    this.#sentAtMs = deps.nowMs();
    await writePaced(call, message, context.signal);
  }

  #notify(): void {
    this.#isWoken = true;
    this.#wake?.();
  }

  /** Resolves when something changed, or after `timeoutMs`; throws the signal's reason. */
  async #notified(timeoutMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#isWoken) {
      await new Promise<void>((resolve, reject) => {
        const settle = (act: () => void): void => {
          clearTimeout(timer);
          signal.removeEventListener('abort', onAbort);
          this.#wake = undefined;
          act();
        };
        const timer = setTimeout(() => settle(resolve), Math.min(timeoutMs, 2 ** 30));
        const onAbort = (): void => settle(() => reject(signal.reason as Error));
        signal.addEventListener('abort', onAbort, { once: true });
        this.#wake = () => settle(resolve);
      });
    }
    // Changes of the table come in numbers: one new stream for all of them.
    await new Promise((resolve) => setImmediate(resolve));
    this.#isWoken = false;
  }
}

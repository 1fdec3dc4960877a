import { credentials } from '@grpc/grpc-js';
import { TransferClient } from '@atoll/contracts/atoll/v1/transfer';
import { AtollError } from '@atoll/core-errors';
import { SharedClients, createChannelOptions } from '@atoll/platform-grpc';
import { traceparentOf, type Counter, type Logger, type Tracing } from '@atoll/platform-telemetry';
import type { HostedReplica } from '../hosted-replica.ts';
import { ReceivedInstalls } from './received-installs.ts';
import { SHARD_STREAMS_MAX, ShardedInstalls, type ShardedInstall } from './sharded-installs.ts';
import { fetchSnapshot } from './snapshot-fetch.ts';

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 2000;

export interface SnapshotReceiverOptions {
  readonly clusterId: string;
  /** Installs at a time on this node; the others wait their turn. Those that are split are bounded by their streams alone. */
  readonly concurrent: number;
  readonly addressOf: (node: string) => string | undefined;
  /** A chunk was taken in, or the install ended: there is something to acknowledge. */
  readonly onProgress: (hosted: HostedReplica) => void;
  readonly tracing: Tracing;
  readonly logger: Logger;
  readonly random: () => number;
  readonly bytesReceived: Counter;
}

interface Running {
  readonly abort: AbortController;
  /** 1: not split. */
  readonly streams: number;
}

/**
 * Fills replicas that were ordered to install: fetches chunks until nothing is missing (R33), of those that are to be
 * split by several streams. One that cannot be fetched gives its place to the next and comes again.
 */
export class SnapshotReceiver {
  /** What came so far. */
  readonly received = new ReceivedInstalls();
  readonly #options: SnapshotReceiverOptions;
  readonly #waiting = new Set<HostedReplica>();
  readonly #running = new Map<HostedReplica, Running>();
  readonly #retries = new Map<HostedReplica, NodeJS.Timeout>();
  readonly #retryMs = new WeakMap<HostedReplica, number>();
  readonly #clients = new SharedClients((address) => new TransferClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'bulk' })));
  readonly #sharded = new ShardedInstalls();
  #isClosed = false;

  constructor(options: SnapshotReceiverOptions) {
    this.#options = options;
  }

  get runningCount(): number {
    return this.#running.size;
  }

  /** A new order, or another leader to go on with: a fetch that is under way is of no use any more. */
  install(hosted: HostedReplica): void {
    if (this.#isClosed) return;
    this.received.began(hosted);
    clearTimeout(this.#retries.get(hosted));
    this.#retries.delete(hosted);
    this.#running.get(hosted)?.abort.abort(new AtollError('CANCELLED', 'the full sync begins anew'));
    this.#waiting.add(hosted);
    this.#next();
  }

  /** How installs are to be split from now on, for `validMs`. One that is under way in one stream goes on in several. */
  shard(installs: readonly ShardedInstall[], { validMs, nowMs }: { readonly validMs: number; readonly nowMs: number }): void {
    this.#sharded.set(installs, { validMs, nowMs });
    for (const [hosted, { streams }] of this.#running) if (streams === 1 && this.#streamsFor(hosted, nowMs) > 1) this.install(hosted);
  }

  /** The replica follows nobody any more, or is gone. */
  cancel(hosted: HostedReplica): void {
    clearTimeout(this.#retries.get(hosted));
    this.#retries.delete(hosted);
    this.#waiting.delete(hosted);
    this.#running.get(hosted)?.abort.abort(new AtollError('CANCELLED', 'the replica follows nobody'));
  }

  /** To be called about every second. */
  tick(nowMs: number): void {
    this.received.tick(nowMs);
  }

  close(): void {
    this.#isClosed = true;
    this.#waiting.clear();
    for (const timer of this.#retries.values()) clearTimeout(timer);
    this.#retries.clear();
    for (const { abort } of this.#running.values()) abort.abort(new AtollError('SHUTTING_DOWN', 'this node is stopping'));
  }

  #next(): void {
    for (const hosted of this.#waiting) {
      if (this.#running.has(hosted)) continue;
      const streams = this.#streamsFor(hosted, performance.now());
      if (streams === 0) continue;
      this.#waiting.delete(hosted);
      const abort = new AbortController();
      this.#running.set(hosted, { abort, streams });
      void this.#run(hosted, streams, abort.signal).finally(() => {
        this.#running.delete(hosted);
        if (this.#isUnfinished(hosted) && !this.#waiting.has(hosted)) this.#again(hosted);
        this.#next();
      });
    }
  }

  /** By how many streams it may be filled now, beside those that are; 0: it waits. */
  #streamsFor(hosted: HostedReplica, nowMs: number): number {
    const shards = this.#sharded.of(hosted, nowMs);
    const running = [...this.#running.values()].map(({ streams }) => streams);
    if (shards === 1) return running.filter((streams) => streams === 1).length < this.#options.concurrent ? 1 : 0;
    const room = SHARD_STREAMS_MAX - running.reduce((sum, streams) => sum + (streams > 1 ? streams : 0), 0);
    // One stream would be none that is split, and count among those.
    return room < 2 ? 0 : Math.min(shards, room);
  }

  #isUnfinished({ replica }: HostedReplica): boolean {
    return !this.#isClosed && replica.role.kind === 'follower' && replica.state.install?.next !== undefined;
  }

  #again(hosted: HostedReplica): void {
    const delayMs = this.#retryMs.get(hosted) ?? RETRY_MS_MIN;
    this.#retryMs.set(hosted, Math.min(delayMs * 2, RETRY_MS_MAX));
    const timer = setTimeout(() => {
      this.#retries.delete(hosted);
      if (this.#isUnfinished(hosted)) this.install(hosted);
    }, delayMs * (0.5 + this.#options.random() / 2));
    this.#retries.set(hosted, timer);
  }

  async #run(hosted: HostedReplica, streams: number, signal: AbortSignal): Promise<void> {
    const { logger, tracing } = this.#options;
    const { keyspace, partition } = hosted;
    const attributes = { 'atoll.keyspace': keyspace, 'atoll.partition': partition };
    const { bytes, entries } = this.received.of(hosted);
    await tracing
      .withSpan(
        'atoll.replica.install',
        attributes,
        async (span) => {
          await this.#fetch(hosted, streams, signal, span && traceparentOf(span)).finally(() => {
            const after = this.received.of(hosted);
            span?.setAttributes({ 'atoll.streams': streams, 'atoll.bytes': after.bytes - bytes, 'atoll.entries': after.entries - entries });
          });
          if (hosted.replica.state.hasAllData) hosted.orderedBy = undefined;
        },
        // Of the migration, if one asked for this replica; the call itself is long over.
        { parent: hosted.orderedBy },
      )
      .catch((error: unknown) => {
        if (!signal.aborted) logger.warn({ err: error, keyspace, partition }, 'a full sync was interrupted and goes on soon');
      });
  }

  #fetch(hosted: HostedReplica, streams: number, signal: AbortSignal, traceparent: string | undefined): Promise<void> {
    const { clusterId, addressOf, bytesReceived, onProgress } = this.#options;
    return fetchSnapshot({
      hosted,
      streams,
      clusterId,
      clients: this.#clients,
      addressOf,
      onReceived: (chunk) => {
        bytesReceived.add(chunk.bytes);
        this.received.took(hosted, chunk);
      },
      onTaken: () => {
        this.#retryMs.delete(hosted);
        onProgress(hosted);
      },
      signal,
      traceparent,
    });
  }
}

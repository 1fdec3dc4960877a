import { AtollError } from '@atoll/core-errors';
import { FenceTable } from '@atoll/core-locks';
import { callServerStream } from '@atoll/platform-grpc';
import { traceparentOf, type Counter, type Logger, type Tracing } from '@atoll/platform-telemetry';
import type { HostedReplica } from '../hosted-replica.ts';
import { ChunkAssembler, chunkBytes } from './chunk-assembler.ts';
import { ReceivedInstalls } from './received-installs.ts';
import { ResultsAssembler } from './result-pieces.ts';
import { SharedClients } from './shared-clients.ts';

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 2000;

export interface SnapshotReceiverOptions {
  readonly clusterId: string;
  /** Installs at a time on this node; the others wait their turn. */
  readonly concurrent: number;
  readonly addressOf: (node: string) => string | undefined;
  /** A chunk was taken in, or the install ended: there is something to acknowledge. */
  readonly onProgress: (hosted: HostedReplica) => void;
  readonly tracing: Tracing;
  readonly logger: Logger;
  readonly random: () => number;
  readonly bytesReceived: Counter;
}

/**
 * Fills replicas that were ordered to install: fetches chunks from their leader until nothing is missing (R33). One
 * that cannot be fetched gives its place to the next and comes again.
 */
export class SnapshotReceiver {
  /** What came so far. */
  readonly received = new ReceivedInstalls();
  readonly #options: SnapshotReceiverOptions;
  readonly #waiting = new Set<HostedReplica>();
  readonly #running = new Map<HostedReplica, AbortController>();
  readonly #retries = new Map<HostedReplica, NodeJS.Timeout>();
  readonly #retryMs = new WeakMap<HostedReplica, number>();
  readonly #clients = new SharedClients();
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
    this.#running.get(hosted)?.abort(new AtollError('CANCELLED', 'the full sync begins anew'));
    this.#waiting.add(hosted);
    this.#next();
  }

  /** The replica follows nobody any more, or is gone. */
  cancel(hosted: HostedReplica): void {
    clearTimeout(this.#retries.get(hosted));
    this.#retries.delete(hosted);
    this.#waiting.delete(hosted);
    this.#running.get(hosted)?.abort(new AtollError('CANCELLED', 'the replica follows nobody'));
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
    for (const running of this.#running.values()) running.abort(new AtollError('SHUTTING_DOWN', 'this node is stopping'));
  }

  #next(): void {
    for (const hosted of this.#waiting) {
      if (this.#running.size >= this.#options.concurrent) return;
      if (this.#running.has(hosted)) continue;
      this.#waiting.delete(hosted);
      const abort = new AbortController();
      this.#running.set(hosted, abort);
      void this.#run(hosted, abort.signal).finally(() => {
        this.#running.delete(hosted);
        if (this.#isUnfinished(hosted) && !this.#waiting.has(hosted)) this.#again(hosted);
        this.#next();
      });
    }
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

  async #run(hosted: HostedReplica, signal: AbortSignal): Promise<void> {
    const { logger, tracing } = this.#options;
    const { keyspace, partition } = hosted;
    const attributes = { 'atoll.keyspace': keyspace, 'atoll.partition': partition };
    const { bytes, entries } = this.received.of(hosted);
    await tracing
      .withSpan(
        'atoll.replica.install',
        attributes,
        async (span) => {
          await this.#fetch(hosted, signal, span && traceparentOf(span)).finally(() => {
            const after = this.received.of(hosted);
            span?.setAttributes({ 'atoll.bytes': after.bytes - bytes, 'atoll.entries': after.entries - entries });
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

  /** Fetches from the present leader, from where the install stands, until the end or until either changes. */
  async #fetch(hosted: HostedReplica, signal: AbortSignal, traceparent: string | undefined): Promise<void> {
    const { role, state } = hosted.replica;
    const { install } = state;
    if (role.kind !== 'follower' || install?.next === undefined) return;
    const address = this.#options.addressOf(role.of.node);
    if (address === undefined) return;
    const client = this.#clients.take(address);
    try {
      const request = {
        clusterId: this.#options.clusterId,
        keyspace: hosted.keyspace,
        partition: hosted.partition,
        replicaId: state.identity.self.replica,
        generation: { ...state.generation },
        epoch: role.follower.epoch,
        fromHigh: install.next.high,
        fromLow: install.next.low,
        wantsResults: state.results.isPartial,
        logSeq: install.logSeq,
      };
      const assembler = new ChunkAssembler();
      const results = new ResultsAssembler();
      for await (const message of callServerStream(client, 'fetchSnapshot', request, { signal, traceparent })) {
        if (signal.aborted || hosted.replica.role !== role || state.install !== install) return;
        results.add(message, state);
        if (message.fences !== undefined) state.fences.merge(FenceTable.decode(message.fences));
        if (message.copies !== undefined) state.copies.load(message.copies, message.readSeq);
        const chunk = assembler.add(message);
        if (chunk === undefined) continue;
        hosted.replica.hearEpoch(message.epoch);
        const bytes = chunkBytes(chunk);
        this.#options.bytesReceived.add(bytes);
        this.received.took(hosted, { bytes, entries: chunk.entries.length });
        if (signal.aborted || hosted.replica.role !== role || state.install !== install || !role.follower.onChunk(chunk, message.epoch)) return;
        this.#retryMs.delete(hosted);
        this.#options.onProgress(hosted);
      }
    } finally {
      this.#clients.release(address);
    }
  }
}

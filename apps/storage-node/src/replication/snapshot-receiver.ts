import { credentials } from '@grpc/grpc-js';
import { TransferClient, type FetchSnapshotResponse } from '@atoll/contracts/atoll/v1/transfer';
import { AtollError } from '@atoll/core-errors';
import { VALUE_BYTES_MAX, checksum32 } from '@atoll/core-runtime';
import type { SnapshotChunk } from '@atoll/core-replication';
import type { StoredEntry } from '@atoll/core-store';
import { callServerStream, createChannelOptions } from '@atoll/platform-grpc';
import type { Counter, Logger, Tracing } from '@atoll/platform-telemetry';
import type { HostedReplica } from '../hosted-replica.ts';

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
  readonly #options: SnapshotReceiverOptions;
  readonly #waiting = new Set<HostedReplica>();
  readonly #running = new Map<HostedReplica, AbortController>();
  readonly #retries = new Map<HostedReplica, NodeJS.Timeout>();
  readonly #retryMs = new WeakMap<HostedReplica, number>();
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
    await tracing
      .withSpan('atoll.replica.install', attributes, async (span) => {
        await this.#fetch(hosted, signal);
        span?.setAttribute('atoll.entries', hosted.replica.state.store.entryCount);
      })
      .catch((error: unknown) => {
        if (!signal.aborted) logger.warn({ err: error, keyspace, partition }, 'a full sync was interrupted and goes on soon');
      });
  }

  /** Fetches from the present leader, from where the install stands, until the end or until either changes. */
  async #fetch(hosted: HostedReplica, signal: AbortSignal): Promise<void> {
    const { role, state } = hosted.replica;
    const { install } = state;
    if (role.kind !== 'follower' || install?.next === undefined) return;
    const address = this.#options.addressOf(role.of.node);
    if (address === undefined) return;
    const client = new TransferClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'bulk' }));
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
      };
      const assembler = new ChunkAssembler();
      for await (const message of callServerStream(client, 'fetchSnapshot', request, { signal })) {
        const chunk = assembler.add(message);
        if (chunk === undefined) continue;
        hosted.replica.hearEpoch(message.epoch);
        this.#options.bytesReceived.add(chunk.entries.reduce((sum, entry) => sum + entry.key.length + entry.value.length, 0));
        if (signal.aborted || hosted.replica.role !== role || state.install !== install || !role.follower.onChunk(chunk, message.epoch)) return;
        this.#retryMs.delete(hosted);
        this.#options.onProgress(hosted);
      }
    } finally {
      client.close();
    }
  }
}

/** Puts a chunk together from its messages and checks it. */
class ChunkAssembler {
  #entries: StoredEntry[] = [];
  readonly #filled = new Map<number, number>();

  add(message: FetchSnapshotResponse): SnapshotChunk | undefined {
    for (const entry of message.entries) {
      if (entry.valueBytes > VALUE_BYTES_MAX) throw new AtollError('INTERNAL', `a snapshot chunk announces a value of ${entry.valueBytes} bytes`);
      this.#entries.push({
        key: entry.key,
        value: entry.valueBytes > 0 ? Buffer.allocUnsafeSlow(entry.valueBytes) : entry.value,
        version: { generation: entry.versionGeneration, epoch: entry.versionEpoch, seq: entry.versionSeq },
        expiresAtMs: entry.expiresAtMs,
      });
    }
    if (message.valuePart.length > 0) {
      const value = this.#entries[message.partOf]?.value;
      const at = this.#filled.get(message.partOf) ?? 0;
      if (value === undefined || at + message.valuePart.length > value.length) throw new AtollError('INTERNAL', 'a piece of a value does not belong to its chunk');
      this.#filled.set(message.partOf, at + message.valuePart.copy(value, at));
    }
    if (message.continued) return undefined;
    const entries = this.#entries;
    this.#entries = [];
    this.#filled.clear();
    let checksum = 0;
    for (const entry of entries) checksum = (checksum + checksum32(entry.key) + checksum32(entry.value)) >>> 0;
    if (checksum !== message.checksum) throw new AtollError('INTERNAL', 'the checksum of a snapshot chunk is wrong');
    const to = message.toHigh === undefined || message.toLow === undefined ? undefined : { high: message.toHigh, low: message.toLow };
    return { from: { high: message.fromHigh, low: message.fromLow }, to, readSeq: message.readSeq, entries };
  }
}

import { credentials } from '@grpc/grpc-js';
import { TransferClient, type FetchSnapshotResponse } from '@atoll/contracts/atoll/v1/transfer';
import { AtollError } from '@atoll/core-errors';
import { checksum32 } from '@atoll/core-runtime';
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

/** Fills replicas that were ordered to install: fetches chunks from their leader until nothing is missing (R33). */
export class SnapshotReceiver {
  readonly #options: SnapshotReceiverOptions;
  readonly #waiting: HostedReplica[] = [];
  readonly #running = new Set<HostedReplica>();
  readonly #abort = new AbortController();

  constructor(options: SnapshotReceiverOptions) {
    this.#options = options;
  }

  get runningCount(): number {
    return this.#running.size;
  }

  install(hosted: HostedReplica): void {
    if (this.#running.has(hosted) || this.#waiting.includes(hosted)) return;
    this.#waiting.push(hosted);
    this.#next();
  }

  close(): void {
    this.#waiting.length = 0;
    this.#abort.abort(new AtollError('SHUTTING_DOWN', 'this node is stopping'));
  }

  #next(): void {
    while (this.#running.size < this.#options.concurrent) {
      const hosted = this.#waiting.shift();
      if (hosted === undefined) return;
      this.#running.add(hosted);
      void this.#run(hosted).finally(() => {
        this.#running.delete(hosted);
        this.#next();
      });
    }
  }

  async #run(hosted: HostedReplica): Promise<void> {
    const { logger, random, tracing } = this.#options;
    const { keyspace, partition } = hosted;
    const attributes = { 'atoll.keyspace': keyspace, 'atoll.partition': partition };
    let delayMs = RETRY_MS_MIN;
    await tracing
      .withSpan('atoll.replica.install', attributes, async (span) => {
        while (!this.#abort.signal.aborted && hosted.replica.role.kind === 'follower' && hosted.replica.state.install?.next !== undefined) {
          const before = hosted.replica.state.install.next;
          try {
            await this.#fetch(hosted);
          } catch (error) {
            logger.warn({ err: error, keyspace, partition }, 'a full sync was interrupted and goes on soon');
          }
          const { install } = hosted.replica.state;
          if (install?.next !== before) delayMs = RETRY_MS_MIN;
          if (install?.next === undefined) break;
          await new Promise((resolve) => setTimeout(resolve, delayMs * (0.5 + random() / 2)));
          delayMs = Math.min(delayMs * 2, RETRY_MS_MAX);
        }
        span?.setAttribute('atoll.entries', hosted.replica.state.store.entryCount);
      })
      .catch((error: unknown) => logger.error({ err: error, keyspace, partition }, 'a full sync failed'));
  }

  /** Fetches from the present leader, from where the install stands, until the end or until either changes. */
  async #fetch(hosted: HostedReplica): Promise<void> {
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
      for await (const message of callServerStream(client, 'fetchSnapshot', request, { signal: this.#abort.signal })) {
        const chunk = assembler.add(message);
        if (chunk === undefined) continue;
        this.#options.bytesReceived.add(chunk.entries.reduce((sum, entry) => sum + entry.key.length + entry.value.length, 0));
        if (state.install !== install || !role.follower.onChunk(chunk, message.epoch)) return;
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

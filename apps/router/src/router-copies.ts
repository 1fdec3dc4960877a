import { credentials } from '@grpc/grpc-js';
import { CopyClient } from '@atoll/contracts/atoll/v1/copy';
import { AtollError } from '@atoll/core-errors';
import { MIB } from '@atoll/core-runtime';
import { SharedClients, createChannelOptions } from '@atoll/platform-grpc';
import type { Counter, Metrics } from '@atoll/platform-telemetry';

/** A node sends so much ahead of what another cluster has taken, on each stream. */
const WINDOW_BYTES = MIB;

export interface RouterCopiesOptions {
  readonly clusterId: string;
  readonly isOffered: boolean;
  /** Whether copies of other clusters may take the place of keyspaces of this one. */
  readonly offersCutOvers: boolean;
  /** host:port of the elected coordinator, as far as it is known. */
  readonly coordinator: () => string | undefined;
  readonly streamsMax: number;
  readonly metrics: Metrics;
}

/** Whether other clusters may copy from this one through here, and how many streams they have open. */
export class RouterCopies {
  readonly clusterId: string;
  /** Connections for bulk data, apart from those of operations. */
  readonly clients = new SharedClients((address) => new CopyClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'bulk', windowBytes: WINDOW_BYTES })));
  readonly bytes: Counter;
  readonly #options: RouterCopiesOptions;
  #count = 0;
  #coordinator: { readonly address: string; readonly client: CopyClient } | undefined;

  constructor(options: RouterCopiesOptions) {
    const { metrics, clusterId } = options;
    this.clusterId = clusterId;
    this.#options = options;
    metrics.gauge('atoll_router_copy_streams', { description: 'Streams by which other clusters copy partitions of this one.' }, () => this.#count);
    this.bytes = metrics.counter('atoll_router_copy_bytes_total', { description: 'Bytes that other clusters have taken by copies of keyspaces of this one.', unit: 'By' });
  }

  /** Throws COPY_NOT_OFFERED. */
  requireOffer(): void {
    if (!this.#options.isOffered) throw new AtollError('COPY_NOT_OFFERED', `this router of cluster ${this.clusterId} lets no other cluster copy: ROUTER_COPY_SOURCES is off`);
  }

  /** Throws COPY_NOT_OFFERED. */
  requireCutOvers(): void {
    this.requireOffer();
    if (!this.#options.offersCutOvers) throw new AtollError('COPY_NOT_OFFERED', `this router of cluster ${this.clusterId} lets no other cluster take the place of its keyspaces: ROUTER_COPY_CUT_OVERS is off`);
  }

  /** A client of the elected coordinator, whose connection stays: writes wait while it is asked. Undefined while there is none. */
  coordinator(): CopyClient | undefined {
    const address = this.#options.coordinator();
    if (address !== this.#coordinator?.address) {
      const former = this.#coordinator;
      this.#coordinator = address === undefined ? undefined : { address, client: this.clients.take(address) };
      if (former !== undefined) this.clients.release(former.address);
    }
    return this.#coordinator?.client;
  }

  close(): void {
    if (this.#coordinator !== undefined) this.clients.release(this.#coordinator.address);
    this.#coordinator = undefined;
  }

  /** Throws COPY_NOT_OFFERED, and OVERLOADED when there are as many streams as there may be (I10). */
  enter(): void {
    this.requireOffer();
    if (this.#count >= this.#options.streamsMax) throw new AtollError('OVERLOADED', `the router serves ${this.#count} streams of copies already`);
    this.#count += 1;
  }

  leave(): void {
    this.#count -= 1;
  }
}

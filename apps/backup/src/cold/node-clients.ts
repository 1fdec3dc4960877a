import { credentials } from '@grpc/grpc-js';
import { ArchiveClient } from '@atoll/contracts/atoll/v1/archive';
import { createChannelOptions } from '@atoll/platform-grpc';

/** Connections to storage nodes, by address, for as long as one job lasts: one for data, and one for what must not wait behind it. */
export class NodeClients {
  readonly #bulk = new Map<string, ArchiveClient>();
  readonly #calls = new Map<string, ArchiveClient>();
  /** Streams of data under way. */
  readonly #streams = new Map<string, number>();

  bulk(address: string): ArchiveClient {
    return taken(this.#bulk, address, 'bulk');
  }

  /** How many streams of data it sends to this job now. */
  streamsOf(address: string): number {
    return this.#streams.get(address) ?? 0;
  }

  /** A stream from there has begun. Returns what is to be called when it ends. */
  countStream(address: string): () => void {
    this.#streams.set(address, this.streamsOf(address) + 1);
    return () => void this.#streams.set(address, this.streamsOf(address) - 1);
  }

  calls(address: string): ArchiveClient {
    return taken(this.#calls, address, 'heartbeat');
  }

  close(): void {
    for (const client of [...this.#bulk.values(), ...this.#calls.values()]) client.close();
    this.#bulk.clear();
    this.#calls.clear();
  }
}

function taken(clients: Map<string, ArchiveClient>, address: string, traffic: 'bulk' | 'heartbeat'): ArchiveClient {
  let client = clients.get(address);
  if (client === undefined) clients.set(address, (client = new ArchiveClient(address, credentials.createInsecure(), createChannelOptions({ traffic }))));
  return client;
}

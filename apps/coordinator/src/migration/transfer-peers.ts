import { credentials } from '@grpc/grpc-js';
import { TransferClient, type GetTransfersResponse, type ShardedTransfer } from '@atoll/contracts/atoll/v1/transfer';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { PeersByAddress } from '../adapters/peers-by-address.ts';

/** What the coordinator asks of nodes about bulk data, on connections that are kept as long as their addresses are in use. */
export class TransferPeers {
  readonly #revision: number;
  readonly #deadlineMs: number;
  readonly #clients = new PeersByAddress((address) => new TransferClient(address, credentials.createInsecure(), createChannelOptions()));

  /** @param options.revision Of the coordinator's term (R11). */
  constructor(options: { readonly revision: number; readonly deadlineMs: number }) {
    this.#revision = options.revision;
    this.#deadlineMs = options.deadlineMs;
  }

  /** Throws an AtollError. */
  ask(address: string): Promise<GetTransfersResponse> {
    return callUnary(this.#clients.at(address), 'getTransfers', {}, { deadlineMs: this.#deadlineMs });
  }

  /** Bounds what the node sends; 0: its own bound. Throws an AtollError. */
  async limit(address: string, bytesPerSecond: number, validMs: number): Promise<void> {
    await callUnary(this.#clients.at(address), 'limitTransfers', { coordinatorRevision: this.#revision, bytesPerSecond, validMs }, { deadlineMs: this.#deadlineMs });
  }

  /** Has the node split these full syncs, and no others. Throws an AtollError. */
  async shard(address: string, transfers: readonly ShardedTransfer[], validMs: number): Promise<void> {
    await callUnary(this.#clients.at(address), 'shardTransfers', { coordinatorRevision: this.#revision, transfers: [...transfers], validMs }, { deadlineMs: this.#deadlineMs });
  }

  /** As PeersByAddress.retain. */
  retain(addresses: ReadonlySet<string>): void {
    this.#clients.retain(addresses);
  }

  close(): void {
    this.#clients.close();
  }
}

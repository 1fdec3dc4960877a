import { credentials } from '@grpc/grpc-js';
import { TransferClient, type GetTransfersResponse } from '@atoll/contracts/atoll/v1/transfer';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';

/** What the coordinator asks of nodes about bulk data, on connections that are kept as long as their addresses are in use. */
export class TransferPeers {
  readonly #revision: number;
  readonly #deadlineMs: number;
  readonly #clients = new Map<string, TransferClient>();

  /** @param options.revision Of the coordinator's term (R11). */
  constructor(options: { readonly revision: number; readonly deadlineMs: number }) {
    this.#revision = options.revision;
    this.#deadlineMs = options.deadlineMs;
  }

  /** Throws an AtollError. */
  ask(address: string): Promise<GetTransfersResponse> {
    return callUnary(this.#client(address), 'getTransfers', {}, { deadlineMs: this.#deadlineMs });
  }

  /** Bounds what the node sends; 0: its own bound. Throws an AtollError. */
  async limit(address: string, bytesPerSecond: number, validMs: number): Promise<void> {
    await callUnary(this.#client(address), 'limitTransfers', { coordinatorRevision: this.#revision, bytesPerSecond, validMs }, { deadlineMs: this.#deadlineMs });
  }

  /** Closes connections to addresses that nobody has any more. */
  retain(addresses: ReadonlySet<string>): void {
    for (const [address, client] of this.#clients) {
      if (addresses.has(address)) continue;
      client.close();
      this.#clients.delete(address);
    }
  }

  close(): void {
    this.retain(new Set());
  }

  #client(address: string): TransferClient {
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = new TransferClient(address, credentials.createInsecure(), createChannelOptions());
      this.#clients.set(address, client);
    }
    return client;
  }
}

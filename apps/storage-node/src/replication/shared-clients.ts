import { credentials } from '@grpc/grpc-js';
import { TransferClient } from '@atoll/contracts/atoll/v1/transfer';
import { createChannelOptions } from '@atoll/platform-grpc';

/** Connections for bulk data, one for each address while somebody uses it: a full sync of many partitions opens one, not many. */
export class SharedClients {
  readonly #clients = new Map<string, { readonly client: TransferClient; users: number }>();

  /** `release` must follow, with the same address. */
  take(address: string): TransferClient {
    let shared = this.#clients.get(address);
    if (shared === undefined) {
      shared = { client: new TransferClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'bulk' })), users: 0 };
      this.#clients.set(address, shared);
    }
    shared.users += 1;
    return shared.client;
  }

  release(address: string): void {
    const shared = this.#clients.get(address);
    if (shared === undefined) return;
    shared.users -= 1;
    if (shared.users > 0) return;
    this.#clients.delete(address);
    shared.client.close();
  }
}

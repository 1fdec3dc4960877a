import { credentials } from '@grpc/grpc-js';
import { CopyClient } from '@atoll/contracts/atoll/v1/copy';
import { createChannelOptions } from '@atoll/platform-grpc';

/** One connection for each node that sources are followed at, apart from all others: bulk data must not delay them (R14). */
export class CopyClients {
  readonly #clients = new Map<string, { readonly client: CopyClient; users: number }>();

  /** `release` must follow, with the same address. */
  take(address: string): CopyClient {
    let shared = this.#clients.get(address);
    if (shared === undefined) {
      shared = { client: new CopyClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'bulk' })), users: 0 };
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

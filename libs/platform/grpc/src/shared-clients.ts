/** Connections for bulk data, one for each address while somebody uses it: a full sync of many partitions opens one, not many. */
export class SharedClients<Client extends { close(): void }> {
  readonly #connect: (address: string) => Client;
  readonly #clients = new Map<string, { readonly client: Client; users: number }>();

  constructor(connect: (address: string) => Client) {
    this.#connect = connect;
  }

  /** `release` must follow, with the same address. */
  take(address: string): Client {
    let shared = this.#clients.get(address);
    if (shared === undefined) this.#clients.set(address, (shared = { client: this.#connect(address), users: 0 }));
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

/** Connections by address, each made when it is first needed. */
export class PeersByAddress<Peer extends { close(): void }> {
  readonly #connect: (address: string) => Peer;
  readonly #peers = new Map<string, Peer>();

  constructor(connect: (address: string) => Peer) {
    this.#connect = connect;
  }

  at(address: string): Peer {
    let peer = this.#peers.get(address);
    if (peer === undefined) this.#peers.set(address, (peer = this.#connect(address)));
    return peer;
  }

  /** Closes connections to addresses that nobody has any more. */
  retain(addresses: ReadonlySet<string>): void {
    for (const [address, peer] of this.#peers) {
      if (addresses.has(address)) continue;
      peer.close();
      this.#peers.delete(address);
    }
  }

  close(): void {
    this.retain(new Set());
  }
}

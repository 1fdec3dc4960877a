import { PeersByAddress } from './peers-by-address.ts';
import { VerificationPeer } from './verification-peer.ts';

/** Connections to the nodes that are compared, each opened when it is first needed. */
export class VerificationPeers {
  readonly #addressOf: (node: string) => string | undefined;
  readonly #peers: PeersByAddress<VerificationPeer>;

  constructor({ addressOf, deadlineMs }: { readonly addressOf: (node: string) => string | undefined; readonly deadlineMs: number }) {
    this.#addressOf = addressOf;
    this.#peers = new PeersByAddress((address) => new VerificationPeer(address, deadlineMs));
  }

  /** Throws when the node is not registered. */
  of(node: string): VerificationPeer {
    const address = this.#addressOf(node);
    if (address === undefined) throw new Error(`node ${node} is not registered`);
    return this.#peers.at(address);
  }

  close(): void {
    this.#peers.close();
  }
}

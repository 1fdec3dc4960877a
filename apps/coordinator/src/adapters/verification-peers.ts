import { VerificationPeer } from './verification-peer.ts';

/** Connections to the nodes that are compared, each opened when it is first needed. */
export class VerificationPeers {
  readonly #addressOf: (node: string) => string | undefined;
  readonly #deadlineMs: number;
  readonly #peers = new Map<string, VerificationPeer>();

  constructor(options: { readonly addressOf: (node: string) => string | undefined; readonly deadlineMs: number }) {
    this.#addressOf = options.addressOf;
    this.#deadlineMs = options.deadlineMs;
  }

  /** Throws when the node is not registered. */
  of(node: string): VerificationPeer {
    const address = this.#addressOf(node);
    if (address === undefined) throw new Error(`node ${node} is not registered`);
    const present = this.#peers.get(address);
    if (present !== undefined) return present;
    const made = new VerificationPeer(address, this.#deadlineMs);
    this.#peers.set(address, made);
    return made;
  }

  close(): void {
    for (const peer of this.#peers.values()) peer.close();
    this.#peers.clear();
  }
}

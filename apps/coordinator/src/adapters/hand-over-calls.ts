import { credentials } from '@grpc/grpc-js';
import { HeartbeatClient, type HandOverItem, type HandOverResult } from '@atoll/contracts/atoll/v1/heartbeat';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { PeersByAddress } from './peers-by-address.ts';

/** On top of the time that the leader itself may take. */
const CALL_MS = 500;

/** Asks leaders to give offices up (R29), on connections that are kept as long as their addresses are in use. */
export class HandOverCalls {
  readonly #revision: number;
  readonly #clients = new PeersByAddress((address) => new HeartbeatClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'heartbeat' })));

  /** @param revision Of the coordinator's term (R11). */
  constructor(revision: number) {
    this.#revision = revision;
  }

  /** Results in the order asked. Rejects with an AtollError when nothing is known of any of them. */
  async ask(address: string, items: readonly HandOverItem[], holdMs: number): Promise<readonly HandOverResult[]> {
    const request = { coordinatorRevision: this.#revision, items: [...items], holdMs };
    const { results } = await callUnary(this.#clients.at(address), 'handOver', request, { deadlineMs: holdMs + CALL_MS });
    return results;
  }

  /** As PeersByAddress.retain. */
  retain(addresses: ReadonlySet<string>): void {
    this.#clients.retain(addresses);
  }

  close(): void {
    this.#clients.close();
  }
}

import { credentials } from '@grpc/grpc-js';
import { HeartbeatClient, type HandOverItem, type HandOverResult } from '@atoll/contracts/atoll/v1/heartbeat';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';

/** On top of the time that the leader itself may take. */
const CALL_MS = 500;

/** Asks leaders to give offices up (R29), on connections that are kept as long as their addresses are in use. */
export class HandOverCalls {
  readonly #revision: number;
  readonly #clients = new Map<string, HeartbeatClient>();

  /** @param revision Of the coordinator's term (R11). */
  constructor(revision: number) {
    this.#revision = revision;
  }

  /** Results in the order asked. Rejects with an AtollError when nothing is known of any of them. */
  async ask(address: string, items: readonly HandOverItem[], holdMs: number): Promise<readonly HandOverResult[]> {
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = new HeartbeatClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'heartbeat' }));
      this.#clients.set(address, client);
    }
    const request = { coordinatorRevision: this.#revision, items: [...items], holdMs };
    const { results } = await callUnary(client, 'handOver', request, { deadlineMs: holdMs + CALL_MS });
    return results;
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
}

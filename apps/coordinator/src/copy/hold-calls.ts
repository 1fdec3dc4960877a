// Asks the cluster of a source, by its routers, to hold writes back and to give the keyspace away (R37).
import { credentials } from '@grpc/grpc-js';
import { CopyClient, type DescribeSourceResponse, type FenceSourceRequest, type FenceSourceResponse, type HoldSourceRequest, type HoldSourceResponse, type SettleHoldRequest, type SettleHoldResponse } from '@atoll/contracts/atoll/v1/copy';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { PeersByAddress } from '../adapters/peers-by-address.ts';

/** Longest question to one router before the next one is asked, in ms: one that ends a hold is a write to etcd. */
const ASK_MS = 3000;

export class HoldCalls {
  readonly #peers = new PeersByAddress((address) => new CopyClient(address, credentials.createInsecure(), createChannelOptions()));

  /** The first of the routers that answers, and knows the keyspace by its id. Throws what the last one said. */
  async findRouter(routers: readonly string[], keyspace: string, keyspaceId: string): Promise<string> {
    return this.#each(routers, async (router) => {
      const answer = await callUnary(this.#peers.at(router), 'describeSource', { keyspace }, { deadlineMs: ASK_MS });
      if (answer.keyspaceId !== keyspaceId) throw new AtollError('KEYSPACE_NOT_FOUND', `keyspace: ${keyspace} was made again since the copy began`);
      return router;
    });
  }

  /** Asks this router alone: a second hold would find the first one in its way. */
  hold(router: string, request: HoldSourceRequest, signal: AbortSignal): Promise<HoldSourceResponse> {
    return callUnary(this.#peers.at(router), 'holdSource', request, { deadlineMs: request.maxPauseMs, signal });
  }

  /** Asks one router after the other. Throws what the last one said: nothing is certain then. */
  settle(routers: readonly string[], request: SettleHoldRequest): Promise<SettleHoldResponse> {
    return this.#each(routers, (router) => callUnary(this.#peers.at(router), 'settleHold', request, { deadlineMs: ASK_MS }));
  }

  /** All that answer in time, side by side. */
  async survey(routers: readonly string[], keyspace: string, deadlineMs: number): Promise<readonly DescribeSourceResponse[]> {
    const answers = await Promise.allSettled(routers.map((router) => callUnary(this.#peers.at(router), 'describeSource', { keyspace }, { deadlineMs })));
    return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
  }

  /** As settle. */
  fence(routers: readonly string[], request: FenceSourceRequest): Promise<FenceSourceResponse> {
    return this.#each(routers, (router) => callUnary(this.#peers.at(router), 'fenceSource', request, { deadlineMs: ASK_MS }));
  }

  close(): void {
    this.#peers.close();
  }

  async #each<T>(routers: readonly string[], ask: (router: string) => Promise<T>): Promise<T> {
    let failure: AtollError | undefined;
    for (const router of routers) {
      try {
        return await ask(router);
      } catch (error) {
        if (!isAtollError(error)) throw error;
        failure = new AtollError(error.reason, `router ${router}: ${error.message}`);
      }
    }
    throw failure ?? new AtollError('SOURCE_UNREACHABLE', 'no router is named');
  }
}

import type { Logger } from '@atoll/platform-telemetry';
import type { Counter, Metrics } from '@atoll/platform-telemetry';

/** What happened, in the words of the domain: each is one log line and, where it is counted, one counter. */
export class RouterEvents {
  readonly #logger: Logger;
  readonly #lost: Counter;

  constructor(logger: Logger, metrics: Metrics) {
    this.#logger = logger;
    this.#lost = metrics.counter('atoll_router_node_connections_lost_total', { description: 'Execute streams to storage nodes that broke.' });
  }

  tableRead(keyspaces: number, nodes: number): void {
    this.#logger.info({ keyspaces, nodes }, 'routing table read');
  }

  nodeConnected(address: string): void {
    this.#logger.info({ address }, 'connected to storage node');
  }

  nodeLost(address: string, cause: string): void {
    this.#lost.add();
    this.#logger.warn({ address, cause }, 'lost the connection to a storage node');
  }

  clientStalled(peer: string): void {
    this.#logger.warn({ peer }, 'closed the stream of a client that does not read its results');
  }
}

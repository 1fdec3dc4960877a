// The elected coordinator's end of a report stream, played by a spec.
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { ReportRequest, ReportResponse } from '@atoll/contracts/atoll/v1/heartbeat';
import type { AtollError } from '@atoll/core-errors';
import { fromServiceError } from '@atoll/platform-grpc';
import { eventually } from '@atoll/platform-etcd/testing';
import type { WorldNode } from './node-world.ts';

export class RawCoordinator {
  /** The error with which the stream ended; undefined for a good end. */
  readonly ended: Promise<AtollError | undefined>;
  readonly #stream: ClientDuplexStream<ReportRequest, ReportResponse>;
  #last: ReportResponse | undefined;
  #beat = 0;

  constructor(node: WorldNode) {
    this.#stream = node.heartbeat.report();
    this.#stream.on('data', (response: ReportResponse) => (this.#last = response));
    this.ended = new Promise((resolve) => {
      this.#stream.on('error', (error) => resolve(fromServiceError(error)));
      this.#stream.on('end', () => resolve(undefined));
    });
  }

  hello(clusterId: string, coordinatorRevision: number): this {
    return this.send({ hello: { clusterId, coordinatorId: 'the-spec', coordinatorRevision } });
  }

  send(changes: Partial<ReportRequest>): this {
    this.#beat += 1;
    this.#stream.write({ hello: undefined, beat: this.#beat, records: [], answers: [], discardsTaken: 0, ...changes });
    return this;
  }

  /** The answer to one more beat. */
  async report(changes: Partial<ReportRequest> = {}): Promise<ReportResponse> {
    this.send(changes);
    const beat = this.#beat;
    return eventually(`the report of beat ${beat}`, () => (this.#last?.beat === beat ? this.#last : undefined));
  }

  close(): void {
    this.#stream.cancel();
  }
}

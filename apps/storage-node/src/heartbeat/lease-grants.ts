import type { LeaseRequest, LeaseResponse } from '@atoll/contracts/atoll/v1/heartbeat';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { LeaseGranter, type LeaseBeat } from '@atoll/core-replication';
import { toReplicaId } from '@atoll/core-runtime';
import { resetServerStream, type BidiStreamHandler } from '@atoll/platform-grpc';
import type { Counter } from '@atoll/platform-telemetry';
import type { ReplicaHost } from '../replica-host.ts';

export interface LeaseGrantsOptions {
  readonly clusterId: string;
  readonly host: ReplicaHost;
  /** Promises made. */
  readonly granted: Counter;
}

/** The granting end of the lease streams of all other nodes (R14). Beats are answered in the turn in which they are read. */
export class LeaseGrants {
  readonly #options: LeaseGrantsOptions;
  /** A node asks by one stream at a time: another one of it ends the one before. */
  readonly #streams = new Map<string, AbortController>();

  constructor(options: LeaseGrantsOptions) {
    this.#options = options;
  }

  /** Handler of `Heartbeat.Lease`. */
  readonly lease: BidiStreamHandler<LeaseRequest, LeaseResponse> = (call, context) =>
    new Promise((resolve, reject) => {
      const { host, granted } = this.#options;
      const granter = new LeaseGranter({ find: (keyspace, partition) => host.replica(keyspace, partition)?.replica });
      const gone = new AbortController();
      let node: string | undefined;
      let listCount = 0;
      let isEnded = false;
      const end = (error?: Error): void => {
        if (node !== undefined && this.#streams.get(node) === gone) this.#streams.delete(node);
        isEnded = true;
        if (error === undefined) resolve();
        else reject(error);
      };
      call.on('data', (request: LeaseRequest) => {
        if (isEnded) return;
        try {
          if (node === undefined) node = this.#open(request, gone);
          else if (request.hello !== undefined) throw invalidArgument('hello', 'comes once, first');
          const nowMs = performance.now();
          if (request.items.length > 0) listCount = request.items.length;
          const answer = granter.onBeat(toBeat(request), request.leaseMs, nowMs);
          granted.add(Math.max(0, listCount - answer.exceptions.length));
          // Who does not read its answers gets none: it counts no lease, and nothing heaps up here (I10).
          if (!call.writableNeedDrain) call.write({ ...answer, exceptions: [...answer.exceptions] });
        } catch (error) {
          end(error as Error);
        }
      });
      call.on('end', () => end());
      call.on('error', (error) => end(error));
      context.signal.addEventListener('abort', () => end(context.signal.reason as Error), { once: true });
      gone.signal.addEventListener(
        'abort',
        () => {
          end(gone.signal.reason as Error);
          // An error would wait behind what the other side does not read.
          resetServerStream(call);
        },
        { once: true },
      );
    });

  #open({ hello }: LeaseRequest, gone: AbortController): string {
    if (hello === undefined) throw invalidArgument('hello', 'the first message must have it');
    if (hello.clusterId !== this.#options.clusterId) {
      throw new AtollError('WRONG_CLUSTER', `node ${hello.nodeId} belongs to cluster ${hello.clusterId}, this one to ${this.#options.clusterId}`);
    }
    const before = this.#streams.get(hello.nodeId);
    this.#streams.set(hello.nodeId, gone);
    before?.abort(new AtollError('CANCELLED', 'the node has opened another stream'));
    return hello.nodeId;
  }
}

function toBeat({ beat, listVersion, items }: LeaseRequest): LeaseBeat {
  return { beat, listVersion, items: items.map(({ keyspace, partition, epoch, replicaId }) => ({ keyspace, partition, epoch, replica: toReplicaId(replicaId) })) };
}

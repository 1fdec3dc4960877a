import type { DigestAtMarkerRequest, DigestAtMarkerResponse, MarkedDigest as MarkedDigestMessage, PutMarkerRequest, PutMarkerResponse } from '@atoll/contracts/atoll/v1/verify';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import type { LogPosition, MarkedDigest } from '@atoll/core-replication';
import type { CallContext } from '@atoll/platform-grpc';
import type { CoordinatorFence } from '../heartbeat/coordinator-fence.ts';
import type { HostedReplica } from '../hosted-replica.ts';
import type { ReplicaHost } from '../replica-host.ts';
import { readMoment } from '../turn.ts';

/** How long a call without a deadline waits for a marker. */
const WAIT_MS_MAX = 5000;

/** Markers in the log, and the digests that this node's replicas keep when they apply them (R34). */
export class MarkerHandlers {
  readonly #host: ReplicaHost;
  readonly #fence: CoordinatorFence;

  constructor(options: { host: ReplicaHost; fence: CoordinatorFence }) {
    this.#host = options.host;
    this.#fence = options.fence;
  }

  async putMarker(request: PutMarkerRequest, context: CallContext): Promise<PutMarkerResponse> {
    this.#fence.accept(request.coordinatorRevision);
    const hosted = this.#host.replica(request.keyspace, request.partition);
    const leader = hosted?.replica.leader;
    if (hosted === undefined || leader === undefined) throw new AtollError('NOT_LEADER', `this node does not lead ${request.keyspace}/${request.partition}`);
    if (leader.epoch !== request.epoch) throw new AtollError('STALE_EPOCH', `the epoch is ${leader.epoch}, not ${request.epoch}`);
    const marked = leader.putMarker(readMoment());
    if (marked.kind === 'failed') throw new AtollError(marked.reason, marked.message);
    return { digest: await digestAt(hosted, marked.position, context) };
  }

  async digestAtMarker(request: DigestAtMarkerRequest, context: CallContext): Promise<DigestAtMarkerResponse> {
    if (request.marker === undefined) throw invalidArgument('marker', 'is missing');
    const hosted = this.#host.replica(request.keyspace, request.partition);
    if (hosted?.replica.state.identity.self.replica !== request.replicaId) {
      throw new AtollError('REPLICA_UNKNOWN', `this node does not hold replica ${request.replicaId} of ${request.keyspace}/${request.partition}`);
    }
    return { digest: await digestAt(hosted, request.marker, context) };
  }
}

/** Throws REPLICA_NOT_READY when there is none, or it does not come in time. */
async function digestAt(hosted: HostedReplica, marker: LogPosition, context: CallContext): Promise<MarkedDigestMessage> {
  const { state } = hosted.replica;
  const present = state.marks.get(marker);
  const digest = present ?? (state.appliedSeq >= marker.seq ? undefined : await untilApplied(hosted, marker, context));
  if (digest === undefined) {
    throw new AtollError('REPLICA_NOT_READY', `replica ${state.identity.self.replica} has no digest of the marker at (${marker.epoch},${marker.seq}); it has applied ${state.appliedSeq}`);
  }
  return {
    replicaId: state.identity.self.replica,
    generation: { ...state.generation },
    marker: { ...digest.position },
    entries: digest.count,
    leaves: Array.from(digest.leaves),
  };
}

function untilApplied(hosted: HostedReplica, marker: LogPosition, context: CallContext): Promise<MarkedDigest | undefined> {
  return new Promise((resolve, reject) => {
    const finish = (digest: MarkedDigest | undefined): void => {
      clearTimeout(timer);
      resolve(digest);
    };
    const callOff = hosted.replica.state.marks.wait(marker, finish);
    if (callOff === undefined) {
      reject(new AtollError('OVERLOADED', 'too many callers wait for markers of this replica'));
      return;
    }
    const timer = setTimeout(() => {
      callOff();
      resolve(undefined);
    }, Math.min(WAIT_MS_MAX, context.deadlineRemainingMs(WAIT_MS_MAX)));
    context.onCancelled(() => {
      callOff();
      finish(undefined);
    });
  });
}

import { credentials } from '@grpc/grpc-js';
import { VerificationClient, type DigestContentResponse, type MarkedDigest, type RepairReplicaResponse } from '@atoll/contracts/atoll/v1/verify';
import { AtollError } from '@atoll/core-errors';
import type { Generation } from '@atoll/core-membership';
import { callServerStream, callUnary, createChannelOptions } from '@atoll/platform-grpc';

/** One replica that is compared or repaired, as the record named it. */
export interface ReplicaAsked {
  readonly keyspace: string;
  readonly partition: number;
  readonly replicaId: string;
}

/** Sub-ranges of a replica that are read entry by entry. */
export interface ContentAsked {
  readonly revision: number;
  readonly generation: Generation;
  /** 64, 1024 or 16384. */
  readonly rangeCount: number;
  readonly ranges: readonly number[];
  readonly bytesPerSecond: number;
  readonly atNextMarker: boolean;
}

/** How long one sub-range may take to be read at the pace that was asked for. */
const CONTENT_DEADLINE_MS = 60_000;
/** How long a marker is waited for: it comes at once, or was missed. */
const CONTENT_AT_MARKER_MS = 1000;

/** What the coordinator asks of one storage node to compare replicas (R34). Failures are AtollErrors. */
export class VerificationPeer {
  readonly #client: VerificationClient;
  readonly #deadlineMs: number;

  constructor(address: string, deadlineMs: number) {
    this.#client = new VerificationClient(address, credentials.createInsecure(), createChannelOptions());
    this.#deadlineMs = deadlineMs;
  }

  async putMarker(ask: { readonly revision: number; readonly keyspace: string; readonly partition: number; readonly epoch: number }, signal: AbortSignal): Promise<MarkedDigest> {
    const { revision: coordinatorRevision, keyspace, partition, epoch } = ask;
    return present(await callUnary(this.#client, 'putMarker', { coordinatorRevision, keyspace, partition, epoch }, { deadlineMs: this.#deadlineMs, signal }));
  }

  async digestAtMarker({ keyspace, partition, replicaId }: ReplicaAsked, marker: MarkedDigest['marker'], signal: AbortSignal): Promise<MarkedDigest> {
    return present(await callUnary(this.#client, 'digestAtMarker', { keyspace, partition, replicaId, marker }, { deadlineMs: this.#deadlineMs, signal }));
  }

  /** Some of the sub-ranges at least, in order; at a marker all of them. */
  digestContent({ keyspace, partition, replicaId }: ReplicaAsked, ask: ContentAsked, signal: AbortSignal): Promise<DigestContentResponse> {
    const { revision: coordinatorRevision, generation, ranges, ...how } = ask;
    const request = { ...how, coordinatorRevision, keyspace, partition, replicaId, generation: { ...generation }, ranges: [...ranges] };
    return callUnary(this.#client, 'digestContent', request, { deadlineMs: ask.atNextMarker ? CONTENT_AT_MARKER_MS : CONTENT_DEADLINE_MS, signal });
  }

  /** One message for each leaf that is done. Takes as long as the data and the rate want. */
  repair(
    { keyspace, partition, replicaId }: ReplicaAsked,
    how: { readonly revision: number; readonly generation: Generation; readonly epoch: number; readonly leaves: readonly number[]; readonly bytesPerSecond: number },
    signal: AbortSignal,
  ): AsyncIterable<RepairReplicaResponse> {
    const { revision: coordinatorRevision, generation, epoch, leaves, bytesPerSecond } = how;
    const request = { coordinatorRevision, keyspace, partition, replicaId, generation: { ...generation }, epoch, leaves: [...leaves], bytesPerSecond };
    return callServerStream(this.#client, 'repairReplica', request, { signal });
  }

  close(): void {
    this.#client.close();
  }
}

function present({ digest }: { readonly digest?: MarkedDigest | undefined }): MarkedDigest {
  if (digest === undefined) throw new AtollError('INTERNAL', 'a node answered without a digest');
  return digest;
}

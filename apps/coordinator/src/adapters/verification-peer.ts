import { credentials } from '@grpc/grpc-js';
import { VerificationClient, type MarkedDigest, type RepairReplicaResponse } from '@atoll/contracts/atoll/v1/verify';
import { AtollError } from '@atoll/core-errors';
import type { Generation } from '@atoll/core-membership';
import { callServerStream, callUnary, createChannelOptions } from '@atoll/platform-grpc';

/** One replica that is compared or repaired, as the record named it. */
export interface ReplicaAsked {
  readonly keyspace: string;
  readonly partition: number;
  readonly replicaId: string;
}

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

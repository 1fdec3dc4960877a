// Verification and Transfer of a storage node that holds no data: every replica is equal to its leader, but for what `contentOf` says, and takes nothing.
import type { Server, ServerWritableStream, handleUnaryCall } from '@grpc/grpc-js';
import { CopyService, type ConfirmFreezeRequest, type ConfirmFreezeResponse } from '@atoll/contracts/atoll/v1/copy';
import { TransferService, type GetTransfersRequest, type GetTransfersResponse, type LimitTransfersRequest, type LimitTransfersResponse, type ShardTransfersRequest, type ShardTransfersResponse, type TransferServer } from '@atoll/contracts/atoll/v1/transfer';
import { VerificationService, type DigestAtMarkerRequest, type DigestAtMarkerResponse, type DigestContentRequest, type DigestContentResponse, type PutMarkerRequest, type PutMarkerResponse, type RepairReplicaRequest, type RepairReplicaResponse, type VerificationServer } from '@atoll/contracts/atoll/v1/verify';
import { AtollError } from '@atoll/core-errors';
import type { PartitionRecord } from '@atoll/core-membership';
import { toServiceError } from '@atoll/platform-grpc';

const LEAVES = Array.from({ length: 128 }, () => 1);

export interface BulkState {
  readonly incarnation: () => string;
  readonly recordOf: (keyspace: string, partition: number) => PartitionRecord | undefined;
  /** What it says of its memory and its partitions, beside the incarnation. */
  readonly transfers: () => Partial<GetTransfersResponse>;
  /** Why it compares nothing; empty: it does. */
  readonly verifyProblem: () => string;
  /** What its entries of the sub-range are, as a number; undefined: they are written to all the time. */
  readonly contentOf: (range: number, rangeCount: number) => number | undefined;
  /** False: as a leader it never stands still. */
  readonly confirmsFreezes: () => boolean;
  readonly onRepair: (leaves: readonly number[]) => void;
  readonly onLimit: (request: LimitTransfersRequest) => void;
  readonly onShard: (request: ShardTransfersRequest) => void;
}

export function addBulkServices(server: Server, state: BulkState): void {
  const digestOf = (keyspace: string, partition: number, seq: number): PutMarkerResponse => {
    const problem = state.verifyProblem();
    if (problem !== '') throw new AtollError('REPLICA_NOT_READY', problem);
    const record = state.recordOf(keyspace, partition);
    if (record === undefined) throw new AtollError('NOT_LEADER', `there is no ${keyspace}/${partition}`);
    return { digest: { replicaId: '', generation: { ...record.generation }, marker: { epoch: record.epoch, seq }, entries: 0, leaves: LEAVES } };
  };
  const putMarker: handleUnaryCall<PutMarkerRequest, PutMarkerResponse> = ({ request }, callback) => answer(callback, () => digestOf(request.keyspace, request.partition, 1));
  const digestAtMarker: handleUnaryCall<DigestAtMarkerRequest, DigestAtMarkerResponse> = ({ request }, callback) => answer(callback, () => digestOf(request.keyspace, request.partition, request.marker?.seq ?? 0));
  const getTransfers: handleUnaryCall<GetTransfersRequest, GetTransfersResponse> = (_call, callback) =>
    callback(null, { incarnation: state.incarnation(), replicas: [], memoryUsedBytes: 0, memoryLimitBytes: 0, sizes: [], sendBytesPerSecond: 0, load: 0, ...state.transfers() });
  const limitTransfers: handleUnaryCall<LimitTransfersRequest, LimitTransfersResponse> = ({ request }, callback) => {
    state.onLimit(request);
    callback(null, {});
  };
  const shardTransfers: handleUnaryCall<ShardTransfersRequest, ShardTransfersResponse> = ({ request }, callback) => {
    state.onShard(request);
    callback(null, {});
  };
  const unimplemented = (call: { emit(event: 'error', error: unknown): unknown }): void => void call.emit('error', toServiceError(new AtollError('INTERNAL', 'this node holds no data')));
  const digestContent: handleUnaryCall<DigestContentRequest, DigestContentResponse> = ({ request: { ranges, rangeCount, atNextMarker } }, callback) => {
    const read = ranges.map((range) => {
      const content = state.contentOf(range, rangeCount);
      return { range, unsettled: content === undefined, versions: 1n, content: BigInt(content ?? 0), entries: 2, bytes: 20 };
    });
    callback(null, { ranges: read, marker: atNextMarker ? { epoch: 1, seq: 1 } : undefined });
  };
  const repairReplica = (call: ServerWritableStream<RepairReplicaRequest, RepairReplicaResponse>): void => {
    state.onRepair(call.request.leaves);
    for (const leaf of call.request.leaves) call.write({ leaf, entries: 2, bytes: 20 });
    call.end();
  };
  const verification: VerificationServer = { putMarker, digestAtMarker, digestContent, repairReplica };
  const transfer: TransferServer = { getTransfers, limitTransfers, shardTransfers, fetchSnapshot: unimplemented };
  // Whoever leads stands still at once.
  const confirmFreeze: handleUnaryCall<ConfirmFreezeRequest, ConfirmFreezeResponse> = ({ request: { keyspace, cutOver, partitions } }, callback) => {
    const confirmed = partitions.flatMap((partition) => {
      const record = state.recordOf(keyspace, partition);
      if (record?.frozen !== cutOver || record.leaderIncarnation !== state.incarnation() || !state.confirmsFreezes()) return [];
      return [{ partition, barrier: { generation: record.generation.counter, epoch: record.epoch, seq: 7 }, timeMs: 1000 + partition }];
    });
    callback(null, { partitions: confirmed, problem: '' });
  };
  server.addService({ confirmFreeze: CopyService.confirmFreeze }, { confirmFreeze });
  server.addService(VerificationService, verification);
  server.addService(TransferService, transfer);
}

function answer<T>(callback: Parameters<handleUnaryCall<unknown, T>>[1], make: () => T): void {
  try {
    callback(null, make());
  } catch (error) {
    callback(toServiceError(error));
  }
}

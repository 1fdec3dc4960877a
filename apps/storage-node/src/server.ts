import { ArchiveService } from '@atoll/contracts/atoll/v1/archive';
import { CacheService } from '@atoll/contracts/atoll/v1/cache';
import { CopyService } from '@atoll/contracts/atoll/v1/copy';
import { HeartbeatService } from '@atoll/contracts/atoll/v1/heartbeat';
import { ReplicationService } from '@atoll/contracts/atoll/v1/replication';
import { TransferService } from '@atoll/contracts/atoll/v1/transfer';
import { VerificationService } from '@atoll/contracts/atoll/v1/verify';
import type { AtollError } from '@atoll/core-errors';
import type { Moment } from '@atoll/core-replication';
import type { ClusterView } from '@atoll/platform-etcd';
import { addStandardServices, type CallContext, type GrpcServer, type Health } from '@atoll/platform-grpc';
import type { Telemetry } from '@atoll/platform-telemetry';
import { decodeFollowRequest, streamTopology } from '@atoll/platform-wire';
import type { ArchiveSource } from './archive/archive-source.ts';
import type { EntryMerges } from './archive/entry-merges.ts';
import type { CacheOperations, Done, WriteTrace } from './cache/cache-operations.ts';
import { serveExecute } from './cache/execute-stream.ts';
import { ManyOperations } from './cache/many-operations.ts';
import type { OperationMetrics } from './cache/operation-metrics.ts';
import { createScanHandler } from './cache/scan.ts';
import type { Copies } from './copy/copies.ts';
import type { CopySource } from './copy/copy-source.ts';
import type { ReplicaHandlers } from './handlers/replicas.ts';
import type { TransferHandlers } from './handlers/transfers.ts';
import type { Heartbeats } from './heartbeat/heartbeats.ts';
import type { LeaderSessions } from './replication/leader-sessions.ts';
import type { SnapshotSender } from './replication/snapshot-sender.ts';
import type { ReplicaHost } from './replica-host.ts';
import { readMoment, type TurnEnd } from './turn.ts';
import type { Verification } from './verify/verification.ts';
import type { Watches } from './watch/watches.ts';

/** What the services need; complete once etcd was read. */
export interface ServingParts {
  readonly verification: Verification;
  readonly snapshots: SnapshotSender;
  readonly transfers: TransferHandlers;
  /** Partitions of copies that are led here, and the partitions that others copy from here (R37). */
  readonly copies: Copies;
  readonly copySource: CopySource;
  readonly archiveSource: ArchiveSource;
  readonly entryMerges: EntryMerges;
  readonly clusterId: string;
  readonly view: ClusterView;
  readonly host: ReplicaHost;
  readonly operations: CacheOperations;
  readonly replicas: ReplicaHandlers;
  readonly sessions: LeaderSessions;
  readonly watches: Watches;
  readonly heartbeats: Heartbeats;
}

export interface ServerOptions {
  readonly grpc: GrpcServer;
  readonly telemetry: Telemetry;
  readonly metrics: OperationMetrics;
  readonly turn: TurnEnd;
  /** Throws METADATA_UNAVAILABLE until etcd was read (R12). */
  readonly parts: () => ServingParts;
}

const bytes = (value: Buffer): Buffer => value;
const cacheService = {
  ...CacheService,
  execute: { ...CacheService.execute, requestDeserialize: bytes, responseSerialize: bytes },
  watch: { ...CacheService.watch, responseSerialize: bytes },
};
const copyService = { followSource: { ...CopyService.followSource, responseSerialize: bytes }, getCopies: CopyService.getCopies, describeSource: CopyService.describeSource, confirmFreeze: CopyService.confirmFreeze };
const archiveService = { ...ArchiveService, readPartition: { ...ArchiveService.readPartition, responseSerialize: bytes } };
const replicationService = { ...ReplicationService, follow: { ...ReplicationService.follow, requestDeserialize: decodeFollowRequest, responseSerialize: bytes } };

/** Adds `Cache`, `Replication`, `Heartbeat`, `Transfer`, `Verification`, `Copy`, `Archive`, health and reflection. */
export function addServices({ grpc, telemetry, metrics, turn, parts }: ServerOptions): Health {
  const { server, handlers } = grpc;
  const { tracing } = telemetry;
  const write =
    <Request, Response>(name: 'set' | 'delete' | 'increment' | 'touch') =>
    (request: Request, context: CallContext): Promise<Response> => {
      const operation = parts().operations[name].bind(parts().operations) as unknown as (request: Request, now: Moment, done: Done<Response>, trace?: WriteTrace) => void;
      const now = readMoment();
      const trace = context.span === undefined ? undefined : { span: context.span, arrivedMs: now.monotonicMs };
      return toPromise((done) => operation(request, now, done, trace));
    };
  const many = (): ManyOperations => new ManyOperations(parts().operations);
  server.addService(cacheService, {
    get: handlers.unary(cacheService.get, (request, { span }) => toPromise((done) => parts().operations.get(request, readMoment(), done, span))),
    set: handlers.unary(cacheService.set, write('set')),
    delete: handlers.unary(cacheService.delete, write('delete')),
    increment: handlers.unary(cacheService.increment, write('increment')),
    touch: handlers.unary(cacheService.touch, write('touch')),
    getMany: handlers.unary(cacheService.getMany, (request) => many().getMany(request)),
    setMany: handlers.unary(cacheService.setMany, (request) => many().setMany(request)),
    deleteMany: handlers.unary(cacheService.deleteMany, (request) => many().deleteMany(request)),
    scan: handlers.serverStream(cacheService.scan, (call, context) => createScanHandler(parts())(call, context)),
    execute: handlers.bidiStream(cacheService.execute, (call, context) => serveExecute(call, context, { operations: parts().operations, turn, tracing, metrics })),
    watchTopology: handlers.serverStream(cacheService.watchTopology, (call, context) => streamTopology(call, context, parts().view)),
    watch: handlers.serverStream(cacheService.watch, (call, context) => parts().watches.serve(call, context)),
  });
  server.addService(replicationService, {
    follow: handlers.bidiStream(replicationService.follow, async (call, context) => parts().sessions.follow(call, context)),
    ensureReplicas: handlers.unary(ReplicationService.ensureReplicas, (request, context) => parts().replicas.ensure(request, context)),
    listReplicas: handlers.unary(ReplicationService.listReplicas, () => parts().replicas.list()),
    listRecords: handlers.serverStream(ReplicationService.listRecords, async (call, context) => parts().replicas.listRecords(call, context)),
    digestReplica: handlers.unary(ReplicationService.digestReplica, (request, context) => parts().replicas.digest(request, context)),
  });
  server.addService(HeartbeatService, {
    lease: handlers.bidiStream(HeartbeatService.lease, async (call, context) => parts().heartbeats.lease(call, context)),
    report: handlers.bidiStream(HeartbeatService.report, async (call, context) => parts().heartbeats.report(call, context)),
    probe: handlers.unary(HeartbeatService.probe, (request) => parts().heartbeats.probe(request)),
    handOver: handlers.unary(HeartbeatService.handOver, (request) => parts().heartbeats.handOver(request)),
  });
  server.addService(VerificationService, {
    putMarker: handlers.unary(VerificationService.putMarker, (request, context) => parts().verification.markers.putMarker(request, context)),
    digestAtMarker: handlers.unary(VerificationService.digestAtMarker, (request, context) => parts().verification.markers.digestAtMarker(request, context)),
    digestContent: handlers.unary(VerificationService.digestContent, (request, context) => parts().verification.content.digest(request, context)),
    repairReplica: handlers.serverStream(VerificationService.repairReplica, async (call, context) => parts().verification.repairer.repair(call, context)),
  });
  server.addService(TransferService, {
    fetchSnapshot: handlers.serverStream(TransferService.fetchSnapshot, async (call, context) => parts().snapshots.send(call, context)),
    getTransfers: handlers.unary(TransferService.getTransfers, async () => parts().transfers.get()),
    limitTransfers: handlers.unary(TransferService.limitTransfers, async (request) => parts().transfers.limit(request)),
    shardTransfers: handlers.unary(TransferService.shardTransfers, async (request) => parts().transfers.shard(request)),
  });
  server.addService(copyService, {
    followSource: handlers.serverStream(copyService.followSource, (call, context) => parts().copySource.follow(call, context)),
    getCopies: handlers.unary(CopyService.getCopies, async () => parts().copies.get()),
    describeSource: handlers.unary(CopyService.describeSource, async (request) => parts().copySource.describe(request)),
    confirmFreeze: handlers.unary(CopyService.confirmFreeze, async (request) => parts().copySource.confirmFreeze(request)),
  });
  server.addService(archiveService, {
    holdBarrier: handlers.unary(ArchiveService.holdBarrier, async (request) => parts().archiveSource.hold(request)),
    releaseBarrier: handlers.unary(ArchiveService.releaseBarrier, async (request) => parts().archiveSource.release(request)),
    readPartition: handlers.serverStream(archiveService.readPartition, (call, context) => parts().archiveSource.read(call, context)),
    mergeEntries: handlers.unary(archiveService.mergeEntries, async (request) => parts().entryMerges.merge(request)),
  });
  return addStandardServices(server, { services: [CacheService, ReplicationService, HeartbeatService, TransferService, VerificationService, CopyService, ArchiveService] });
}

function toPromise<Response>(start: (done: Done<Response>) => void): Promise<Response> {
  return new Promise((resolve, reject) => {
    start((error: AtollError | undefined, response) => {
      if (error === undefined) resolve(response as Response);
      else reject(error);
    });
  });
}

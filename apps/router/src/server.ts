import type { ServerWritableStream } from '@grpc/grpc-js';
import {
  CacheService,
  DeleteManyResponse,
  GetManyResponse,
  SetManyResponse,
  type ScanRequest,
  type WatchRequest,
} from '@atoll/contracts/atoll/v1/cache';
import { CopyService, type FollowSourceRequest } from '@atoll/contracts/atoll/v1/copy';
import type { ClusterView } from '@atoll/platform-etcd';
import { addStandardServices, type GrpcServer, type Health } from '@atoll/platform-grpc';
import { OPERATION, streamTopology } from '@atoll/platform-wire';
import { handleDescribeSource, handleListSources } from './handlers/describe-source.ts';
import { handleExecute } from './handlers/execute.ts';
import { passFenceSource, passHoldSource, passSettleHold } from './handlers/pass-hold.ts';
import { handleFollowSource } from './handlers/follow-source.ts';
import { handleDeleteMany, handleGetMany, handleSetMany } from './handlers/many.ts';
import type { HandlerDeps } from './handlers/router-context.ts';
import { handleScan } from './handlers/scan.ts';
import { createUnaryHandler } from './handlers/unary.ts';
import { handleWatch } from './handlers/watch.ts';

const bytes = (value: Buffer): Buffer => value;

/** A method whose messages stay bytes on both sides: decoded once where they are looked at, never encoded again. */
const raw = <M extends object>(method: M) => ({ ...method, requestDeserialize: bytes, responseSerialize: bytes });
/** A generated answer without the copy that generated serializers make of it. */
const serialize =
  <T>(codec: { encode(message: T): { finish(): Uint8Array } }) =>
  (message: T): Buffer => {
    const encoded = codec.encode(message).finish();
    return Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  };

const service = {
  ...CacheService,
  get: raw(CacheService.get),
  set: raw(CacheService.set),
  delete: raw(CacheService.delete),
  increment: raw(CacheService.increment),
  touch: raw(CacheService.touch),
  execute: raw(CacheService.execute),
  getMany: { ...CacheService.getMany, responseSerialize: serialize(GetManyResponse) },
  setMany: { ...CacheService.setMany, responseSerialize: serialize(SetManyResponse) },
  deleteMany: { ...CacheService.deleteMany, responseSerialize: serialize(DeleteManyResponse) },
  scan: { ...CacheService.scan, responseSerialize: bytes },
  watch: { ...CacheService.watch, responseSerialize: bytes },
};

/** What other clusters need to copy from this one. */
const copyService = { followSource: { ...CopyService.followSource, responseSerialize: bytes }, describeSource: CopyService.describeSource, holdSource: CopyService.holdSource, settleHold: CopyService.settleHold, listSources: CopyService.listSources, fenceSource: CopyService.fenceSource };

export interface ServerOptions {
  readonly grpc: GrpcServer;
  readonly deps: HandlerDeps;
  /** Throws METADATA_UNAVAILABLE until it is open. */
  readonly view: () => ClusterView;
  readonly streamWindowOperations: number;
}

/** Adds `Cache`, what of `Copy` other clusters need, health and reflection. */
export function addServices({ grpc, deps, view, streamWindowOperations }: ServerOptions): Health {
  const { server, handlers } = grpc;
  server.addService(service, {
    get: handlers.unary(service.get, createUnaryHandler(OPERATION.GET, deps)),
    set: handlers.unary(service.set, createUnaryHandler(OPERATION.SET, deps)),
    delete: handlers.unary(service.delete, createUnaryHandler(OPERATION.DELETE, deps)),
    increment: handlers.unary(service.increment, createUnaryHandler(OPERATION.INCREMENT, deps)),
    touch: handlers.unary(service.touch, createUnaryHandler(OPERATION.TOUCH, deps)),
    getMany: handlers.unary(service.getMany, (request, context) => handleGetMany(request, context, deps)),
    setMany: handlers.unary(service.setMany, (request, context) => handleSetMany(request, context, deps)),
    deleteMany: handlers.unary(service.deleteMany, (request, context) => handleDeleteMany(request, context, deps)),
    scan: handlers.serverStream(service.scan, (call: ServerWritableStream<ScanRequest, Buffer>, context) => handleScan(call, context, deps)),
    execute: handlers.bidiStream(service.execute, (call, context) => handleExecute(call, context, deps, streamWindowOperations)),
    watchTopology: handlers.serverStream(service.watchTopology, (call, context) => streamTopology(call, context, view())),
    watch: handlers.serverStream(service.watch, (call: ServerWritableStream<WatchRequest, Buffer>, context) => handleWatch(call, context, deps)),
  });
  server.addService(copyService, {
    followSource: handlers.serverStream(copyService.followSource, (call: ServerWritableStream<FollowSourceRequest, Buffer>, context) => handleFollowSource(call, context, deps)),
    describeSource: handlers.unary(copyService.describeSource, (request, context) => handleDescribeSource(request, context, deps)),
    holdSource: handlers.unary(copyService.holdSource, (request, context) => passHoldSource(request, context, deps)),
    settleHold: handlers.unary(copyService.settleHold, (request, context) => passSettleHold(request, context, deps)),
    listSources: handlers.unary(copyService.listSources, () => handleListSources(deps)),
    fenceSource: handlers.unary(copyService.fenceSource, (request, context) => passFenceSource(request, context, deps)),
  });
  return addStandardServices(server, { services: [CacheService, CopyService] });
}

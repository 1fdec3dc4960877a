import type { Server } from '@grpc/grpc-js';
import { LocksService, type LocksServer } from '@atoll/contracts/atoll/v1/locks';
import type { Random } from '@atoll/core-runtime';
import type { ClientLocks, ClusterView } from '@atoll/platform-etcd';
import type { RpcHandlers } from '@atoll/platform-grpc';
import { acquire, listLocks, release, renew } from './handlers/locks.ts';

/** What the handlers of Locks work with. */
export interface LocksContext {
  readonly locks: ClientLocks;
  readonly random: Random;
  /** Throws METADATA_REGRESSED: tokens would be lower than those that were given before (R13). */
  requireSound(): void;
  /** Undefined until etcd has been read for the first time. */
  view(): ClusterView | undefined;
}

/** Served by every coordinator: who holds a lock follows from what stands in etcd, not from an office (R38). */
export function addLocksService(server: Server, handlers: RpcHandlers, context: LocksContext): void {
  const service: LocksServer = {
    acquire: handlers.unary(LocksService.acquire, (request, call) => acquire(context, request, call)),
    renew: handlers.unary(LocksService.renew, (request) => renew(context, request)),
    release: handlers.unary(LocksService.release, (request) => release(context, request)),
    listLocks: handlers.unary(LocksService.listLocks, (request) => listLocks(context, request)),
  };
  server.addService(LocksService, service);
}

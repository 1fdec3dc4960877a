import type { Server } from '@grpc/grpc-js';
import { StandbyService, type StandbyServer } from '@atoll/contracts/atoll/v1/standby';
import type { RpcHandlers } from '@atoll/platform-grpc';
import type { AdminContext } from './admin-context.ts';
import { createStandby, fencePrimary, listStandbys, promoteStandby, removeStandby } from './handlers/standbys.ts';

export function addStandbyService(server: Server, handlers: RpcHandlers, context: AdminContext): void {
  const service: StandbyServer = {
    createStandby: handlers.unary(StandbyService.createStandby, (request) => createStandby(context, request)),
    listStandbys: handlers.unary(StandbyService.listStandbys, (request) => listStandbys(context, request)),
    promoteStandby: handlers.unary(StandbyService.promoteStandby, (request, call) => promoteStandby(context, request, call)),
    fencePrimary: handlers.unary(StandbyService.fencePrimary, (request) => fencePrimary(context, request)),
    removeStandby: handlers.unary(StandbyService.removeStandby, (request) => removeStandby(context, request)),
  };
  server.addService(StandbyService, service);
}

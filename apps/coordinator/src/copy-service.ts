import type { Server } from '@grpc/grpc-js';
import { CopyService } from '@atoll/contracts/atoll/v1/copy';
import type { RpcHandlers } from '@atoll/platform-grpc';
import { requireTerm, type AdminContext } from './admin-context.ts';
import { fenceSource } from './copy/source-fence.ts';

const service = { holdSource: CopyService.holdSource, settleHold: CopyService.settleHold, fenceSource: CopyService.fenceSource };

/** What of `Copy` other clusters ask of the elected coordinator, by routers. */
export function addCopyService(server: Server, handlers: RpcHandlers, context: AdminContext): void {
  server.addService(service, {
    holdSource: handlers.unary(service.holdSource, (request, call) => requireTerm(context).term.copies.holds.hold(request, call.signal)),
    fenceSource: handlers.unary(service.fenceSource, (request, call) => fenceSource(context, request, call)),
    settleHold: handlers.unary(service.settleHold, (request) => requireTerm(context).term.copies.holds.settle(request)),
  });
}

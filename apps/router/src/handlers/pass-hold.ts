import type { CopyClient, FenceSourceRequest, FenceSourceResponse, HoldSourceRequest, HoldSourceResponse, SettleHoldRequest, SettleHoldResponse } from '@atoll/contracts/atoll/v1/copy';
import { AtollError } from '@atoll/core-errors';
import { callUnary, type CallContext } from '@atoll/platform-grpc';
import type { HandlerDeps } from './router-context.ts';

/** For callers that say nothing, in ms. */
const DEADLINE_MS = 5000;

/** Passes on what another cluster asks of the elected coordinator, for a cut-over. Throws COPY_NOT_OFFERED, WRONG_CLUSTER, NOT_COORDINATOR, and what that one says. */
export async function passHoldSource(request: HoldSourceRequest, call: CallContext, deps: HandlerDeps): Promise<HoldSourceResponse> {
  return pass(request, deps, (client) => callUnary(client, 'holdSource', request, settingsOf(call)));
}

/** As passHoldSource. */
export async function passSettleHold(request: SettleHoldRequest, call: CallContext, deps: HandlerDeps): Promise<SettleHoldResponse> {
  return pass(request, deps, (client) => callUnary(client, 'settleHold', request, settingsOf(call)));
}

/** As passHoldSource. */
export async function passFenceSource(request: FenceSourceRequest, call: CallContext, deps: HandlerDeps): Promise<FenceSourceResponse> {
  return pass(request, deps, (client) => callUnary(client, 'fenceSource', request, settingsOf(call)));
}

const settingsOf = (call: CallContext) => ({ deadlineMs: call.deadlineRemainingMs(DEADLINE_MS), signal: call.signal, traceparent: call.traceparent });

function pass<Response>({ clusterId }: { readonly clusterId: string }, deps: HandlerDeps, ask: (client: CopyClient) => Promise<Response>): Promise<Response> {
  const { copies } = deps.routing();
  copies.requireCutOvers();
  if (clusterId !== copies.clusterId) throw new AtollError('WRONG_CLUSTER', `this router belongs to cluster ${copies.clusterId}, not ${clusterId}`);
  const client = copies.coordinator();
  if (client === undefined) throw new AtollError('NOT_COORDINATOR', 'no coordinator is elected at this moment');
  return ask(client);
}

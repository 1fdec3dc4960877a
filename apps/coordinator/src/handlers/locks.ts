import type {
  AcquireRequest,
  AcquireResponse,
  ListLocksRequest,
  ListLocksResponse,
  ReleaseRequest,
  ReleaseResponse,
  RenewRequest,
  RenewResponse,
} from '@atoll/contracts/atoll/v1/locks';
import { AtollError } from '@atoll/core-errors';
import type { LockScope } from '@atoll/core-locks';
import { keyspaceNotFound, resolveKeyspace } from '@atoll/core-membership';
import { randomHex } from '@atoll/core-runtime';
import type { CallContext } from '@atoll/platform-grpc';
import { fromLockMode, fromLockScope, toLockMode, toLockScope } from '@atoll/platform-wire';
import type { LocksContext } from '../locks-service.ts';

const TTL_MS_DEFAULT = 10_000;
const REQUEST_ID_BYTES = 16;
/** A caller whose deadline comes before the end of its wait is answered so much earlier. */
const ANSWER_MS = 50;

export async function acquire(context: LocksContext, request: AcquireRequest, call: CallContext): Promise<AcquireResponse> {
  const scope = toLockScope(request.scope);
  context.requireSound();
  checkKeyspace(context, scope);
  return context.locks.acquire({
    scope,
    mode: toLockMode(request.mode),
    ttlMs: request.ttlMs || TTL_MS_DEFAULT,
    waitMs: Math.min(request.waitMs, Math.max(0, call.deadlineRemainingMs(Infinity) - ANSWER_MS)),
    requestId: request.requestId === '' ? randomHex(context.random, REQUEST_ID_BYTES) : request.requestId,
    isRepeatable: request.requestId !== '',
    owner: request.owner,
    signal: call.signal,
  });
}

export async function renew(context: LocksContext, request: RenewRequest): Promise<RenewResponse> {
  return { ttlMs: await context.locks.renew(toLockScope(request.scope), request.requestId) };
}

export async function release(context: LocksContext, request: ReleaseRequest): Promise<ReleaseResponse> {
  return { released: await context.locks.release(toLockScope(request.scope), request.requestId) };
}

export async function listLocks(context: LocksContext, { name, keyspace }: ListLocksRequest): Promise<ListLocksResponse> {
  const isWanted = (scope: LockScope): boolean => (name === '' && keyspace === '') || (scope.kind === 'name' ? scope.name === name : scope.keyspace === keyspace);
  const requests = (await context.locks.list()).filter(({ scope }) => isWanted(scope));
  return {
    requests: requests.map(({ scope, mode, requestId, owner, createRevision, ttlMs, blocker }) => ({
      scope: fromLockScope(scope),
      mode: fromLockMode(mode),
      requestId,
      owner,
      held: blocker === undefined,
      fencingToken: createRevision,
      ttlMs,
      waitsFor: blocker?.requestId ?? '',
    })),
  };
}

function checkKeyspace(context: LocksContext, scope: LockScope): void {
  const view = context.view();
  if (view === undefined) throw new AtollError('METADATA_UNAVAILABLE', 'this coordinator is waiting for etcd');
  if (scope.kind === 'range' && resolveKeyspace(view.keyspaces(), scope.keyspace) === undefined) throw keyspaceNotFound(scope.keyspace);
}

import type { DescribeSourceRequest, DescribeSourceResponse, ListSourcesResponse, SourcePartition } from '@atoll/contracts/atoll/v1/copy';
import { isAtollError } from '@atoll/core-errors';
import { keyspaceNotFound } from '@atoll/core-membership';
import { DEFAULT_KEYSPACE } from '@atoll/core-runtime';
import { callUnary, type CallContext } from '@atoll/platform-grpc';
import { toKeyspaceMessage } from '@atoll/platform-wire';
import type { RouterCopies } from '../router-copies.ts';
import type { HandlerDeps } from './router-context.ts';

/** Each leader is asked for so long, all of them side by side, in ms: below what the other cluster waits for a router. */
const ASK_MS = 1000;

/**
 * What another cluster has to know of a keyspace before it copies it. What leaders do not say in time is left out: a copy of
 * what is there is worth more than none. Throws COPY_NOT_OFFERED, KEYSPACE_NOT_FOUND.
 */
export async function handleDescribeSource(request: DescribeSourceRequest, { signal }: Pick<CallContext, 'signal'>, deps: HandlerDeps): Promise<DescribeSourceResponse> {
  const { table, copies } = deps.routing();
  copies.requireOffer();
  const name = request.keyspace === '' ? DEFAULT_KEYSPACE : request.keyspace;
  const route = table.keyspace(name);
  if (route === undefined) throw keyspaceNotFound(name);
  const { spec } = route;
  const leaders = new Set(route.partitions.map(({ leader }) => leader).filter((leader) => leader !== ''));
  const told = await Promise.all([...leaders].map((address) => askLeader(copies, address, { keyspace: spec.name, keyspaceId: spec.id }, signal)));
  const partitions = new Map(told.flat().map((one) => [one.partition, one]));
  return { clusterId: copies.clusterId, keyspaceId: spec.id, keyspace: toKeyspaceMessage(spec), partitions: [...partitions.values()].sort((a, b) => a.partition - b.partition), archive: '' };
}

/** Throws COPY_NOT_OFFERED. */
export async function handleListSources(deps: HandlerDeps): Promise<ListSourcesResponse> {
  const { table, copies } = deps.routing();
  copies.requireOffer();
  const own = table.specs().filter(({ copyOf, movedTo, freeze }) => copyOf === undefined && movedTo === undefined && freeze?.movedTo === undefined);
  return { clusterId: copies.clusterId, keyspaces: own.map(({ name }) => name).sort() };
}

async function askLeader(copies: RouterCopies, address: string, { keyspace, keyspaceId }: { readonly keyspace: string; readonly keyspaceId: string }, signal: AbortSignal): Promise<readonly SourcePartition[]> {
  try {
    const answer = await callUnary(copies.clients.take(address), 'describeSource', { keyspace }, { deadlineMs: ASK_MS, signal });
    return answer.keyspaceId === keyspaceId ? answer.partitions : [];
  } catch (error) {
    if (!isAtollError(error)) throw error;
    return [];
  } finally {
    copies.clients.release(address);
  }
}

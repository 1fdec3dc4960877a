import type { DescribeSourceRequest, DescribeSourceResponse } from '@atoll/contracts/atoll/v1/copy';
import { keyspaceNotFound } from '@atoll/core-membership';
import { DEFAULT_KEYSPACE } from '@atoll/core-runtime';
import { toKeyspaceMessage } from '@atoll/platform-wire';
import type { HandlerDeps } from './router-context.ts';

/** What another cluster has to know of a keyspace before it copies it. Throws COPY_NOT_OFFERED, KEYSPACE_NOT_FOUND. */
export function handleDescribeSource(request: DescribeSourceRequest, deps: HandlerDeps): DescribeSourceResponse {
  const { table, copies } = deps.routing();
  copies.requireOffer();
  const name = request.keyspace === '' ? DEFAULT_KEYSPACE : request.keyspace;
  const spec = table.keyspace(name)?.spec;
  if (spec === undefined) throw keyspaceNotFound(name);
  return { clusterId: copies.clusterId, keyspaceId: spec.id, keyspace: toKeyspaceMessage(spec) };
}

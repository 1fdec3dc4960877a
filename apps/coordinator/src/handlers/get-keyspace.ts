import type { GetKeyspaceRequest, GetKeyspaceResponse } from '@atoll/contracts/atoll/v1/admin';
import { keyspaceNotFound, resolveKeyspace } from '@atoll/core-membership';
import { DEFAULT_KEYSPACE } from '@atoll/core-runtime';
import { readView, type AdminContext } from '../admin-context.ts';
import { toKeyspaceMessage } from '@atoll/platform-wire';

export function getKeyspace(context: AdminContext, request: GetKeyspaceRequest): GetKeyspaceResponse {
  const name = request.name || DEFAULT_KEYSPACE;
  const spec = resolveKeyspace(readView(context).keyspaces(), name);
  if (spec === undefined) throw keyspaceNotFound(name);
  return { keyspace: toKeyspaceMessage(spec) };
}

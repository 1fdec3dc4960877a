import { resolveKeyspace } from '@atoll/core-membership';
import type { AdminContext } from '../admin-context.ts';

/**
 * The request with the name under which its keyspace lies, where it names it by an alias (R37). `ifEmpty`: what an empty name
 * means; left out: not one keyspace.
 */
export function withStoredName<Request extends { readonly keyspace: string }>(context: AdminContext, request: Request, ifEmpty = ''): Request {
  const name = request.keyspace || ifEmpty;
  const view = context.view();
  const stored = name === '' || view === undefined ? undefined : resolveKeyspace(view.keyspaces(), name)?.name;
  return stored === undefined || stored === name ? request : { ...request, keyspace: stored };
}

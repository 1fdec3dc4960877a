import type { ListKeyspacesResponse } from '@atoll/contracts/atoll/v1/admin';
import { readView, type AdminContext } from '../admin-context.ts';
import { toKeyspaceMessage } from '@atoll/platform-wire';

/** In order of name. */
export function listKeyspaces(context: AdminContext): ListKeyspacesResponse {
  const keyspaces = [...readView(context).keyspaces().values()].map(toKeyspaceMessage);
  return { keyspaces: keyspaces.toSorted((a, b) => (a.name < b.name ? -1 : 1)) };
}

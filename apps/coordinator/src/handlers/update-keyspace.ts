import type { UpdateKeyspaceRequest, UpdateKeyspaceResponse } from '@atoll/contracts/atoll/v1/admin';
import { invalidArgument } from '@atoll/core-errors';
import { checkKeyspaceName, resolveKeyspace } from '@atoll/core-membership';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { toKeyspaceMessage } from '@atoll/platform-wire';
import { applyUpdate, checkUpdateFields } from '../domain/keyspace-update.ts';

export async function updateKeyspace(context: AdminContext, { keyspace, fields }: UpdateKeyspaceRequest): Promise<UpdateKeyspaceResponse> {
  if (keyspace === undefined) throw invalidArgument('keyspace', 'is missing');
  checkKeyspaceName(keyspace.name);
  checkUpdateFields(fields);
  const { view, term } = requireTerm(context);
  const stored = resolveKeyspace(view.keyspaces(), keyspace.name)?.name ?? keyspace.name;
  const spec = await term.keyspaces.update(stored, (present) => applyUpdate(present, keyspace, fields));
  return { keyspace: toKeyspaceMessage(spec) };
}

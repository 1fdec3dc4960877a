import type { DeleteKeyspaceRequest, DeleteKeyspaceResponse } from '@atoll/contracts/atoll/v1/admin';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { keyspaceNotFound, resolveKeyspace } from '@atoll/core-membership';
import { DEFAULT_KEYSPACE } from '@atoll/core-runtime';
import type { CallContext } from '@atoll/platform-grpc';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { waitForView } from '../wait-for-view.ts';
import { WAIT_MS } from './wait-ms.ts';

export async function deleteKeyspace(context: AdminContext, { name: asked }: DeleteKeyspaceRequest, call: CallContext): Promise<DeleteKeyspaceResponse> {
  if (asked === '') throw invalidArgument('name', 'is missing');
  if (asked === DEFAULT_KEYSPACE) throw defaultStays();
  const { view, term } = requireTerm(context);
  const spec = resolveKeyspace(view.keyspaces(), asked);
  if (spec === undefined) throw keyspaceNotFound(asked);
  const { name } = spec;
  if (spec.aliases?.includes(DEFAULT_KEYSPACE) === true) throw defaultStays();
  await term.copies.store.refresh();
  const copy = term.copies.copyWith(spec);
  if (copy !== undefined) {
    throw new AtollError('MIGRATION_CONFLICT', `name: migration ${copy.id} copies ${copy.source} to ${copy.target}; cancel it first`, { metadata: { field: 'name', keyspace: name, migration: copy.id } });
  }
  const cutOver = term.copies.cutOverOf(spec);
  if (cutOver !== undefined) throw new AtollError('MIGRATION_CONFLICT', `name: ${cutOver} of ${name} is under way; ask again in a moment`, { metadata: { field: 'name', keyspace: name } });
  await term.deleteKeyspace(name);
  // Of a primary whose place it has taken nobody could speak any more.
  for (const former of view.keyspaces().values()) if (former.movedTo === name && !term.keyspaces.isDeleting(former.id)) await term.deleteKeyspace(former.name);
  await waitForView(view, () => view.keyspace(name)?.id !== spec.id, {
    timeoutMs: call.deadlineRemainingMs(WAIT_MS),
    signal: call.signal,
    what: `keyspace ${name} is marked for deletion, which is still under way`,
  });
  return {};
}

const defaultStays = (): AtollError => invalidArgument('name', `${DEFAULT_KEYSPACE} always exists and cannot be deleted`);

import type { FreezeKeyspaceRequest, FreezeKeyspaceResponse, UnfreezeKeyspaceRequest, UnfreezeKeyspaceResponse } from '@atoll/contracts/atoll/v1/admin';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { FREEZE_NOTE_MAX, keyspaceNotFound, lastingFreeze, resolveKeyspace } from '@atoll/core-membership';
import { randomHex } from '@atoll/core-runtime';
import type { CallContext } from '@atoll/platform-grpc';
import { toKeyspaceMessage } from '@atoll/platform-wire';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { waitForView } from '../wait-for-view.ts';
import { WAIT_MS } from './wait-ms.ts';

/** Left of the deadline for the answer. */
const ANSWER_MS = 100;

/** Answers when nothing more is written. Throws KEYSPACE_NOT_FOUND, KEYSPACE_COPYING, MIGRATION_CONFLICT during a cut-over, DEADLINE_EXCEEDED, INVALID_ARGUMENT. */
export async function freezeKeyspace(context: AdminContext, { name, note }: FreezeKeyspaceRequest, call: CallContext): Promise<FreezeKeyspaceResponse> {
  if (note.length > FREEZE_NOTE_MAX) throw invalidArgument('note', `must be at most ${FREEZE_NOTE_MAX} characters, not ${note.length}`);
  const { spec, term } = requireKeyspace(context, name);
  if (spec.copyOf !== undefined) {
    throw new AtollError('KEYSPACE_COPYING', `name: ${spec.name} is being copied from ${spec.copyOf.keyspace} and takes no writes anyway`, { metadata: { field: 'name', keyspace: spec.name } });
  }
  await term.copies.store.refresh();
  const cutOver = term.copies.cutOverOf(spec);
  if (cutOver !== undefined) throw new AtollError('MIGRATION_CONFLICT', `name: ${cutOver} of ${spec.name} is under way; ask again in a moment`, { metadata: { field: 'name', keyspace: spec.name } });
  const freeze = { id: lastingFreeze(randomHex(context.random, 8)), sinceMs: term.wallMs(), note };
  const frozen = await term.keyspaces.update(spec.name, (present) => (present.freeze === undefined ? { ...present, freeze } : present));
  if (frozen.freeze?.id === freeze.id) term.noteFrozen(frozen);
  term.wake();
  await term.copies.freezes.confirmed(frozen, { timeoutMs: call.deadlineRemainingMs(WAIT_MS) - ANSWER_MS, signal: call.signal });
  return { keyspace: toKeyspaceMessage(frozen) };
}

/** Answers when its records say so. Throws KEYSPACE_NOT_FOUND, KEYSPACE_MOVED, DEADLINE_EXCEEDED. */
export async function unfreezeKeyspace(context: AdminContext, { name, reopenMoved }: UnfreezeKeyspaceRequest, call: CallContext): Promise<UnfreezeKeyspaceResponse> {
  const { spec, term, view } = requireKeyspace(context, name);
  let wasFrozen = false;
  const open = await term.keyspaces.update(spec.name, (present) => {
    const { freeze, ...rest } = present;
    if (freeze?.movedTo !== undefined && !reopenMoved) {
      const { cluster, keyspace } = freeze.movedTo;
      throw new AtollError('KEYSPACE_MOVED', `name: cluster ${cluster} has ${spec.name} as ${keyspace}; with reopen_moved both are written to from then on`, {
        metadata: { field: 'name', keyspace: spec.name, moved_to_cluster: cluster, moved_to_keyspace: keyspace },
      });
    }
    wasFrozen ||= freeze !== undefined;
    return rest;
  });
  if (wasFrozen) term.noteFrozen(open);
  term.wake();
  await waitForView(view, () => view.keyspace(spec.name)?.freeze === undefined && view.partitions(spec.name).every(({ record }) => record.frozen === undefined), {
    timeoutMs: call.deadlineRemainingMs(WAIT_MS),
    signal: call.signal,
    what: `keyspace ${spec.name} is unfrozen, which is still being written to its partitions`,
  });
  return { keyspace: toKeyspaceMessage(open) };
}

function requireKeyspace(context: AdminContext, name: string) {
  if (name === '') throw invalidArgument('name', 'is missing');
  const { view, term } = requireTerm(context);
  const spec = resolveKeyspace(view.keyspaces(), name);
  if (spec === undefined || term.keyspaces.isDeleting(spec.id)) throw keyspaceNotFound(name);
  return { spec, term, view };
}

import type { FenceSourceRequest, FenceSourceResponse } from '@atoll/contracts/atoll/v1/copy';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { lastingFreeze, type KeyspaceSpec } from '@atoll/core-membership';
import { randomHex } from '@atoll/core-runtime';
import type { CallContext } from '@atoll/platform-grpc';
import { requireTerm, type AdminContext } from '../admin-context.ts';

/** Longest wait for the leaders, in ms: whoever asks may be about to promote. */
const CONFIRM_MS = 1000;

/**
 * Has a keyspace of this cluster take no writes any more: another cluster promoted its standby. One that is a copy itself, that
 * is gone, or that was moved before takes none anyway. Throws WRONG_CLUSTER, INVALID_ARGUMENT, METADATA_UNAVAILABLE.
 */
export async function fenceSource(context: AdminContext, request: FenceSourceRequest, call: CallContext): Promise<FenceSourceResponse> {
  const { view, term } = requireTerm(context);
  if (request.clusterId !== view.clusterId) throw new AtollError('WRONG_CLUSTER', `this coordinator belongs to cluster ${view.clusterId}, not ${request.clusterId}`);
  if (request.toClusterId === '') throw invalidArgument('to_cluster_id', 'is missing');
  if (request.toKeyspace === '') throw invalidArgument('to_keyspace', 'is missing');
  const movedTo = { cluster: request.toClusterId, keyspace: request.toKeyspace, hold: `fence-${randomHex(context.random, 8)}`, timeMs: term.wallMs() };
  const freeze = { id: lastingFreeze(randomHex(context.random, 8)), sinceMs: term.wallMs(), note: '', movedTo };
  const written = await update(term.keyspaces, request, (spec) => ({ ...spec, freeze }));
  if (written?.freeze === undefined) return { confirmed: written === undefined };
  if (written.freeze.id === freeze.id) term.noteFrozen(written);
  term.wake();
  const confirmed = await term.copies.freezes.confirmed(written, { timeoutMs: CONFIRM_MS, signal: call.signal }).then(() => true, isLate);
  return { confirmed };
}

/** Undefined when there is no such keyspace. One that takes no writes anyway is left as it is. */
async function update(keyspaces: { update(name: string, change: (spec: KeyspaceSpec) => KeyspaceSpec): Promise<KeyspaceSpec> }, { keyspace, keyspaceId }: FenceSourceRequest, change: (spec: KeyspaceSpec) => KeyspaceSpec): Promise<KeyspaceSpec | undefined> {
  try {
    const written = await keyspaces.update(keyspace, (spec) => (spec.id !== keyspaceId || spec.copyOf !== undefined || spec.movedTo !== undefined || spec.freeze?.movedTo !== undefined ? spec : change(spec)));
    return written.id === keyspaceId && written.copyOf === undefined ? written : undefined;
  } catch (error) {
    if (isAtollError(error) && error.reason === 'KEYSPACE_NOT_FOUND') return undefined;
    throw error;
  }
}

function isLate(error: unknown): false {
  if (!isAtollError(error) || error.reason !== 'DEADLINE_EXCEEDED') throw error;
  return false;
}

import type { CreateKeyspaceRequest, CreateKeyspaceResponse } from '@atoll/contracts/atoll/v1/admin';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { MAIN_POOL, poolOf, resolveKeyspace, type KeyspaceSpec } from '@atoll/core-membership';
import { randomHex } from '@atoll/core-runtime';
import type { CallContext } from '@atoll/platform-grpc';
import type { ClusterView } from '@atoll/platform-etcd';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { toKeyspaceMessage, toKeyspaceSpec } from '@atoll/platform-wire';
import { waitForView } from '../wait-for-view.ts';
import { WAIT_MS } from './wait-ms.ts';

export async function createKeyspace(context: AdminContext, request: CreateKeyspaceRequest, call: CallContext): Promise<CreateKeyspaceResponse> {
  if (request.keyspace === undefined) throw invalidArgument('keyspace', 'is missing');
  const spec = toKeyspaceSpec(request.keyspace, randomHex(context.random, 8));
  const { view, term } = requireTerm(context);
  requirePool(view, spec, 'keyspace.pool');
  // Also one that another keyspace has as an alias; a keyspace of the name is found by the store.
  if (view.keyspace(spec.name) === undefined && resolveKeyspace(view.keyspaces(), spec.name) !== undefined) {
    throw new AtollError('KEYSPACE_EXISTS', `keyspace.name: ${spec.name} is a name of another keyspace already`, { metadata: { field: 'keyspace.name', keyspace: spec.name } });
  }
  await term.createKeyspace(spec);
  const isLed = (): boolean => {
    const records = view.partitions(spec.name);
    const refusal = records.length === 0 ? term.refusalOf(spec.id) : undefined;
    if (refusal !== undefined) {
      const { node, error } = refusal;
      throw new AtollError('INVALID_ARGUMENT', `keyspace: node ${node} cannot hold it: ${error.message}`, { metadata: { field: 'keyspace', node }, cause: error });
    }
    return records.length === spec.partitionCount && records.every(({ record }) => record.keyspaceId === spec.id && record.leader !== undefined);
  };
  try {
    await waitForView(view, isLed, {
      timeoutMs: call.deadlineRemainingMs(WAIT_MS),
      signal: call.signal,
      what: `keyspace ${spec.name} was created and is still being placed: not every partition has a leader yet`,
    });
  } catch (error) {
    // Refused by a node before anything was placed: as if it had never been created.
    if (isAtollError(error) && error.reason === 'INVALID_ARGUMENT') await term.deleteKeyspace(spec.name);
    throw error;
  }
  return { keyspace: toKeyspaceMessage(spec) };
}

/** A pool that somebody names has to be there: with too few nodes for the replicas a name was mistyped, or nodes are missing. Throws INVALID_ARGUMENT. */
export function requirePool(view: ClusterView, spec: Pick<KeyspaceSpec, 'pool' | 'replicationFactor'>, field: string): void {
  const pool = poolOf(spec);
  if (pool === MAIN_POOL) return;
  const nodes = [...view.nodeSpecs().values()].filter((node) => poolOf(node) === pool && node.state === 'UP').length;
  if (nodes < spec.replicationFactor) throw invalidArgument(field, `pool ${pool} has ${nodes} nodes, and there are to be ${spec.replicationFactor} replicas of each partition`);
}

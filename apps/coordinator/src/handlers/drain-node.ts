import type { DrainNodeRequest, DrainNodeResponse } from '@atoll/contracts/atoll/v1/admin';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { MAIN_POOL, poolOf, type NodeSpec } from '@atoll/core-membership';
import type { ClusterView } from '@atoll/platform-etcd';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { listNodes } from './list-nodes.ts';

export async function drainNode(context: AdminContext, { node, undo }: DrainNodeRequest): Promise<DrainNodeResponse> {
  const { view, term } = requireTerm(context);
  const spec = requireSpec(view, node);
  if (spec.state === 'REMOVED') throw invalidArgument('node', `${node} is removed`);
  if (!undo && isNeeded(context, spec)) throw invalidArgument('node', `${node} is the only node${poolOf(spec) === MAIN_POOL ? '' : ` of pool ${poolOf(spec)}`}: nobody could take its partitions over`);
  await term.setWanted(spec, undo ? 'UP' : 'DRAINING');
  return { node: listNodes(context).nodes.find(({ id }) => id === node) };
}

/** Keyspaces lie on its pool, and nobody else is there. The last node of a pool that is given up may go. */
function isNeeded(context: AdminContext, spec: NodeSpec): boolean {
  const { view } = requireTerm(context);
  const pool = poolOf(spec);
  const isOther = (other: NodeSpec): boolean => other.id !== spec.id && poolOf(other) === pool && other.state === 'UP' && context.judge(other.id).state === 'UP';
  return [...view.keyspaces().values()].some((keyspace) => poolOf(keyspace) === pool) && ![...view.nodeSpecs().values()].some(isOther);
}

/** Throws NODE_NOT_FOUND, and INVALID_ARGUMENT for an empty name, which name the field of the request. */
export function requireSpec(view: ClusterView, node: string, field = 'node'): NodeSpec {
  if (node === '') throw invalidArgument(field, 'is missing');
  const spec = view.nodeSpecs().get(node);
  if (spec === undefined) throw new AtollError('NODE_NOT_FOUND', `${field}: there is no node named ${JSON.stringify(node.slice(0, 80))}`, { metadata: { field, node: node.slice(0, 80) } });
  return spec;
}

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
  const others = [...view.nodeSpecs().values()].filter((other) => other.id !== node && poolOf(other) === poolOf(spec) && other.state === 'UP' && context.judge(other.id).state === 'UP');
  if (!undo && others.length === 0) throw invalidArgument('node', `${node} is the only node${poolOf(spec) === MAIN_POOL ? '' : ` of pool ${poolOf(spec)}`}: nobody could take its partitions over`);
  await term.setWanted(spec, undo ? 'UP' : 'DRAINING');
  return { node: listNodes(context).nodes.find(({ id }) => id === node) };
}

/** Throws NODE_NOT_FOUND, and INVALID_ARGUMENT for an empty name, which name the field of the request. */
export function requireSpec(view: ClusterView, node: string, field = 'node'): NodeSpec {
  if (node === '') throw invalidArgument(field, 'is missing');
  const spec = view.nodeSpecs().get(node);
  if (spec === undefined) throw new AtollError('NODE_NOT_FOUND', `${field}: there is no node named ${JSON.stringify(node.slice(0, 80))}`, { metadata: { field, node: node.slice(0, 80) } });
  return spec;
}

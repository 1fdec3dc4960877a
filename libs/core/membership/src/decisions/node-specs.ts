import { poolOf, withPool } from '../pool.ts';
import type { NodeRecord, NodeSpec } from '../node-record.ts';
import type { Action, NodeNews } from './action.ts';
import type { ClusterState } from './cluster-state.ts';

/**
 * Keeps `node-specs/<id>` in step with the registrations. What an operator decided (`state`) stays, and so does the pool: what
 * a node holds is of that pool.
 */
export function decideNodeSpecs(state: ClusterState): readonly Action[] {
  return [...state.nodes.values()].flatMap((node): Action[] => {
    const previous = state.specs.get(node.id);
    const spec = toSpec(node, previous);
    if (previous !== undefined && isSameSpec(spec, previous)) return [];
    return [{ kind: 'writeSpec', spec, previous, news: newsOf(spec, previous) }];
  });
}

function toSpec(node: NodeRecord, previous: NodeSpec | undefined): NodeSpec {
  const { id, zone, weight, address, incarnation } = node;
  return { id, state: previous?.state ?? 'UP', zone, ...withPool(poolOf(previous ?? node)), weight, incarnation, address, stopped: node.phase === 'STOPPING' };
}

function newsOf(spec: NodeSpec, previous: NodeSpec | undefined): NodeNews {
  if (previous === undefined) return 'JOINED';
  if (spec.incarnation !== previous.incarnation) return 'RESTARTED';
  return spec.stopped && !previous.stopped ? 'LEFT' : 'UPDATED';
}

function isSameSpec(a: NodeSpec, b: NodeSpec): boolean {
  return (
    a.state === b.state &&
    a.zone === b.zone &&
    a.weight === b.weight &&
    a.incarnation === b.incarnation &&
    a.address === b.address &&
    a.stopped === b.stopped
  );
}

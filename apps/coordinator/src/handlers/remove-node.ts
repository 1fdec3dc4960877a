import type { RemoveNodeRequest, RemoveNodeResponse } from '@atoll/contracts/atoll/v1/admin';
import { invalidArgument } from '@atoll/core-errors';
import { membersOf, nameOf, namesText } from '@atoll/core-membership';
import { requireTerm, type AdminContext } from '../admin-context.ts';
import { requireSpec } from './drain-node.ts';

/** A node that runs is not removed: it could be leading. One that holds replicas by the records only by the operator's word. */
export async function removeNode(context: AdminContext, { node, dataIsLost }: RemoveNodeRequest): Promise<RemoveNodeResponse> {
  const { view, term } = requireTerm(context);
  const spec = requireSpec(view, node);
  const { state } = context.judge(node);
  if (view.nodes().has(node) || state === 'UP') throw invalidArgument('node', `${node} is running (${state}): drain it, then stop it`);
  const held = [...view.keyspaces().keys()].flatMap((name) => view.partitions(name)).filter(({ record }) => membersOf(record).some((member) => member.node === node));
  if (held.length > 0 && !dataIsLost) {
    const last = held.filter(({ record }) => record.inSync.length > 0 && record.inSync.every((member) => member.node === node)).map(({ record }) => nameOf(record));
    const loss = last.length > 0 ? ` and nobody else is in sync with ${namesText(last)}, which would be lost` : '';
    throw invalidArgument('data_is_lost', `${node} still holds ${held.length} replicas by the records${loss}; drain it while it runs, or state that its process is stopped and its data does not come back`);
  }
  await term.setWanted(spec, 'REMOVED');
  return {};
}

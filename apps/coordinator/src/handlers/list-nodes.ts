import { NodeState as NodeStateMessage, type ListNodesResponse, type Node } from '@atoll/contracts/atoll/v1/admin';
import { lastInSyncByNode, poolOf, type NodeVerdictState } from '@atoll/core-membership';
import { toNodeId } from '@atoll/core-runtime';
import type { ClusterView } from '@atoll/platform-etcd';
import { readView, type AdminContext } from '../admin-context.ts';

const STATES: Record<NodeVerdictState, NodeStateMessage> = {
  UP: NodeStateMessage.NODE_STATE_UP,
  SUSPECT: NodeStateMessage.NODE_STATE_SUSPECT,
  DOWN: NodeStateMessage.NODE_STATE_DOWN,
  LEFT: NodeStateMessage.NODE_STATE_LEFT,
};

export function listNodes(context: AdminContext): ListNodesResponse {
  const view = readView(context);
  const counts = countReplicas(view);
  const last = lastInSyncByNode({ keyspaces: view.keyspaces().values(), recordsOf: (name) => view.partitions(name), nodes: view.nodes() });
  const regressed = context.term()?.regressedNodes() ?? new Set();
  const ids = new Set([...view.nodes().keys(), ...view.nodeSpecs().keys()]);
  const nodes = [...ids].toSorted().map((id): Node => {
    const record = view.nodes().get(id);
    const shown = record ?? view.nodeSpecs().get(id);
    const { state, reason, stateMs, degraded, isEtcdLost } = context.judge(id);
    return {
      id,
      address: shown?.address ?? '',
      httpAddress: record?.httpAddress ?? '',
      zone: shown?.zone ?? '',
      pool: poolOf(view.nodeSpecs().get(id) ?? shown ?? {}),
      weight: shown?.weight ?? 0,
      state: STATES[state],
      reason,
      stateMs,
      degraded: [...degraded],
      etcdLost: isEtcdLost,
      wanted: view.nodeSpecs().get(id)?.state ?? '',
      incarnation: shown?.incarnation ?? '',
      metadataRegressed: regressed.has(id),
      lastInSync: (last.get(toNodeId(id)) ?? []).slice(0, NAMED_MAX),
      lastInSyncTotal: last.get(toNodeId(id))?.length ?? 0,
      ...(counts.get(id) ?? NONE),
    };
  });
  return { nodes };
}

/** Partitions named for each node at most. */
const NAMED_MAX = 20;

const NONE = { leaders: 0, replicas: 0, learners: 0 };

function countReplicas(view: ClusterView): Map<string, typeof NONE> {
  const counts = new Map<string, typeof NONE>();
  const count = (node: string, what: keyof typeof NONE): void => {
    const present = counts.get(node) ?? NONE;
    counts.set(node, { ...present, [what]: present[what] + 1 });
  };
  for (const name of view.keyspaces().keys()) {
    for (const { record } of view.partitions(name)) {
      if (record.leader !== undefined) count(record.leader.node, 'leaders');
      for (const { node } of record.inSync) count(node, 'replicas');
      for (const { node } of record.learners) count(node, 'learners');
    }
  }
  return counts;
}

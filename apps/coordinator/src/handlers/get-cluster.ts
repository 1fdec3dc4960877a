import type { GetClusterResponse } from '@atoll/contracts/atoll/v1/admin';
import { FORMAT_VERSION } from '@atoll/platform-etcd';
import { readView, type AdminContext } from '../admin-context.ts';
import { countHealth } from '../domain/partition-health.ts';

export function getCluster(context: AdminContext): GetClusterResponse {
  const view = readView(context);
  const nodes = new Set([...view.nodes().keys(), ...view.nodeSpecs().keys()]);
  const health = countHealth({ keyspaces: view.keyspaces().values(), recordsOf: (name) => view.partitions(name), nodes: view.nodes() });
  return {
    clusterId: view.clusterId,
    formatVersion: FORMAT_VERSION,
    coordinator: view.coordinator()?.id ?? '',
    nodesUp: [...nodes].filter((id) => context.judge(id).state === 'UP').length,
    nodesTotal: nodes.size,
    keyspaces: view.keyspaces().size,
    partitions: health.partitions,
    partitionsWithoutLeader: health.withoutLeader,
    partitionsUnderReplicated: health.underReplicated,
    metadataRegressed: [...context.store.reasons],
  };
}

import { Metadata, credentials } from '@grpc/grpc-js';
import { AdminClient, type GetClusterResponse } from '@atoll/contracts/atoll/v1/admin';
import type { ClusterHealth } from './cluster-status.ts';

const PROBE_TIMEOUT_MS = 1_000;

/** Asks coordinators one after the other; undefined when none that is elected answers. */
export async function probeCluster({ coordinators }: { coordinators: readonly string[] }): Promise<ClusterHealth | undefined> {
  for (const address of coordinators) {
    const response = await getCluster(address);
    if (response !== undefined) return toHealth(response);
  }
  return undefined;
}

function getCluster(address: string): Promise<GetClusterResponse | undefined> {
  const client = new AdminClient(address, credentials.createInsecure());
  return new Promise((resolve) => {
    client.getCluster({}, new Metadata(), { deadline: Date.now() + PROBE_TIMEOUT_MS }, (error, response) => {
      client.close();
      resolve(error === null ? response : undefined);
    });
  });
}

function toHealth(response: GetClusterResponse): ClusterHealth {
  return {
    coordinator: response.coordinator,
    nodesUp: response.nodesUp,
    nodesTotal: response.nodesTotal,
    partitions: response.partitions,
    partitionsWithoutLeader: response.partitionsWithoutLeader,
    partitionsUnderReplicated: response.partitionsUnderReplicated,
  };
}

import { credentials } from '@grpc/grpc-js';
import { ReplicationClient } from '@atoll/contracts/atoll/v1/replication';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import type { Topology } from './topology.ts';

/** What one storage node holds of one keyspace. */
export interface NodeHoldings {
  readonly node: string;
  readonly replicas: number;
  readonly leaders: number;
  readonly entries: number;
  /** Keys, values, headers and index. */
  readonly bytes: number;
}

const DEADLINE_MS = 10_000;

export async function readHoldings({ keyspace, nodes }: Topology): Promise<NodeHoldings[]> {
  const sorted = [...nodes].sort(([left], [right]) => left.localeCompare(right, 'en', { numeric: true }));
  return Promise.all(
    sorted.map(async ([node, address]) => {
      const client = new ReplicationClient(address, credentials.createInsecure(), createChannelOptions());
      try {
        const { replicas } = await callUnary(client, 'listReplicas', {}, { deadlineMs: DEADLINE_MS });
        const held = replicas.filter((replica) => replica.keyspace === keyspace);
        return {
          node,
          replicas: held.length,
          leaders: held.filter(({ role }) => role === 'LEADER').length,
          entries: held.reduce((total, { entries }) => total + entries, 0),
          bytes: held.reduce((total, { bytes }) => total + bytes, 0),
        };
      } finally {
        client.close();
      }
    }),
  );
}

import { credentials } from '@grpc/grpc-js';
import { ReplicationClient, type HeldReplica as HeldReplicaMessage } from '@atoll/contracts/atoll/v1/replication';
import { partitionName, type HeldReplica, type NodeInventory } from '@atoll/core-membership';
import { toReplicaId, type PartitionId } from '@atoll/core-runtime';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';

/** What the coordinator asks of one storage node. Every call has a deadline; failures are AtollErrors. */
export interface ReplicationPeer {
  listReplicas(): Promise<NodeInventory>;
  /** What it holds of these partitions then. `revision` is the fencing token of the coordinator's term (R11). */
  ensureReplicas(ask: { readonly revision: number; readonly keyspace: string; readonly keyspaceId: string; readonly partitions: readonly PartitionId[] }): Promise<NodeInventory>;
  close(): void;
}

export type ConnectPeer = (address: string) => ReplicationPeer;

export function connectReplicationPeer(address: string, deadlineMs: number): ReplicationPeer {
  const client = new ReplicationClient(address, credentials.createInsecure(), createChannelOptions());
  return {
    listReplicas: async () => {
      const { incarnation, replicas } = await callUnary(client, 'listReplicas', {}, { deadlineMs });
      return { incarnation, replicas: toHeld(replicas) };
    },
    ensureReplicas: async ({ revision, keyspace, keyspaceId, partitions }) => {
      const request = { coordinatorRevision: revision, keyspace, keyspaceId, partitions: [...partitions] };
      const { incarnation, replicas } = await callUnary(client, 'ensureReplicas', request, { deadlineMs });
      return { incarnation, replicas: toHeld(replicas) };
    },
    close: () => client.close(),
  };
}

function toHeld(messages: readonly HeldReplicaMessage[]): Map<string, HeldReplica> {
  return new Map(messages.map((message) => [partitionName(message.keyspace, message.partition), toHeldReplica(message)]));
}

export function toHeldReplica(message: HeldReplicaMessage): HeldReplica {
  return {
    replica: toReplicaId(message.replicaId),
    generation: message.generation && { counter: message.generation.counter, id: message.generation.id },
    end: { epoch: message.end?.epoch ?? 0, seq: message.end?.seq ?? 0 },
    entries: message.entries,
    installed: message.installed,
    empty: message.appliedSeq === 0 && message.entries === 0 && (message.end?.seq ?? 0) === 0,
  };
}

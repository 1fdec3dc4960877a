// Keyspaces into which entries are merged while they are served: which of them take any, and whether there is room.
import { credentials } from '@grpc/grpc-js';
import { TransferClient } from '@atoll/contracts/atoll/v1/transfer';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { poolOf, type KeyspaceSpec } from '@atoll/core-membership';
import type { NodeMemory } from '@atoll/core-migration';
import type { ClusterView } from '@atoll/platform-etcd';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';

const CALL_MS = 5000;

/** Throws KEYSPACE_COPYING, KEYSPACE_MOVED, KEYSPACE_FROZEN, KEYSPACE_NOT_FOUND: it takes no writes of anybody. */
export function requireWritable({ name, copyOf, freeze, movedTo }: KeyspaceSpec): void {
  const metadata = { keyspace: name };
  if (copyOf !== undefined) {
    const source = copyOf.cluster === undefined ? copyOf.keyspace : `${copyOf.keyspace} of ${copyOf.cluster.archive ?? `cluster ${copyOf.cluster.id}`}`;
    throw new AtollError('KEYSPACE_COPYING', `keyspace ${name} is a copy or a standby of ${source} and takes no other writes: restore to another name`, { metadata });
  }
  if (movedTo !== undefined) throw new AtollError('KEYSPACE_NOT_FOUND', `keyspace ${name} is about to be deleted: ${movedTo} has taken its place`, { metadata });
  if (freeze?.movedTo !== undefined) throw new AtollError('KEYSPACE_MOVED', `keyspace ${name} was moved to keyspace ${freeze.movedTo.keyspace} of cluster ${freeze.movedTo.cluster}: restore there`, { metadata });
  if (freeze !== undefined) throw new AtollError('KEYSPACE_FROZEN', `keyspace ${name} is frozen and takes no writes until it is unfrozen${freeze.note === '' ? '' : `: ${freeze.note}`}`, { metadata });
}

/** Of every node of a pool that answers. */
export async function memoryOfNodes(view: ClusterView, pool: string, signal: AbortSignal): Promise<ReadonlyMap<string, NodeMemory>> {
  const memory = new Map<string, NodeMemory>();
  await Promise.all(
    [...view.nodes().values()].filter(({ id }) => poolOf(view.nodeSpecs().get(id) ?? {}) === pool).map(async ({ id, address }) => {
      const client = new TransferClient(address, credentials.createInsecure(), createChannelOptions());
      try {
        const { memoryUsedBytes, memoryLimitBytes } = await callUnary(client, 'getTransfers', {}, { deadlineMs: CALL_MS, signal });
        memory.set(id, { usedBytes: memoryUsedBytes, limitBytes: memoryLimitBytes });
      } catch (error) {
        if (!isAtollError(error)) throw error;
      } finally {
        client.close();
      }
    }),
  );
  return memory;
}

import { setTimeout as pause } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import { ReplicationClient, type DigestReplicaResponse } from '@atoll/contracts/atoll/v1/replication';
import { isAtollError } from '@atoll/core-errors';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { readTopology } from './topology.ts';

export interface CompareOptions {
  /** host:port. */
  readonly router: string;
  /** Empty means `default`. */
  readonly keyspace?: string;
  /** In-sync replicas that each partition must have. Default 1. */
  readonly replicasMin?: number;
  /** Time for the replicas of all partitions to come to the same position, in milliseconds. Default 60,000. */
  readonly settleMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface ReplicaComparison {
  readonly partitions: number;
  /** Replicas that were compared. */
  readonly replicas: number;
  /** In-sync replicas of the partition that has the fewest. */
  readonly replicasFewest: number;
  /** Entries, each counted once. */
  readonly entries: number;
  /** One line per partition that is not as it must be. */
  readonly problems: readonly string[];
}

const RETRY_PAUSE_MS = 100;
const CALL_DEADLINE_MS = 30_000;
/** Digests read every byte of a replica: more at a time would only crowd the nodes. */
const PARTITIONS_AT_A_TIME = 4;

/**
 * Compares all in-sync replicas of each partition: at the same applied position they must hold the same (I6), by
 * leaves (keys, versions, expiry) and by content (values as well). Repeats while positions differ or the in-sync set
 * changes, since the cluster may be at work.
 */
export async function compareReplicas(options: CompareOptions): Promise<ReplicaComparison> {
  const { router, keyspace = '', replicasMin = 1, settleMs = 60_000, signal, onProgress } = options;
  const deadlineMs = performance.now() + settleMs;
  const peers = new Peers();
  const read = () => readTopology({ router, keyspace, ...(signal !== undefined && { signal }) });
  let topology = await read();
  const partitions = topology.partitions.map(({ id }) => id);
  const problems: string[] = [];
  const counts: number[] = [];
  let entries = 0;

  const compareOne = async (id: number): Promise<void> => {
    for (;;) {
      signal?.throwIfAborted();
      const inSync = topology.partitions.find((partition) => partition.id === id)?.inSync ?? [];
      const outcome =
        inSync.length < replicasMin
          ? `${inSync.length} in-sync replicas, ${replicasMin} expected`
          : await compareDigests(inSync, (node) => peers.digest(topology.nodes.get(node), topology.keyspace, id));
      if (typeof outcome === 'object') {
        counts.push(outcome.replicas);
        entries += outcome.entries;
        if (outcome.difference !== undefined) problems.push(`partition ${id}: ${outcome.difference}`);
        return;
      }
      if (performance.now() > deadlineMs) {
        counts.push(inSync.length);
        problems.push(`partition ${id}: ${outcome}`);
        return;
      }
      await pause(RETRY_PAUSE_MS, undefined, signal === undefined ? {} : { signal });
      topology = await read();
    }
  };

  try {
    const waiting = [...partitions];
    const worker = async (): Promise<void> => {
      for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
        await compareOne(id);
        onProgress?.(counts.length, partitions.length);
      }
    };
    await Promise.all(Array.from({ length: PARTITIONS_AT_A_TIME }, worker));
  } finally {
    peers.close();
  }
  const replicas = counts.reduce((total, count) => total + count, 0);
  return { partitions: partitions.length, replicas, replicasFewest: Math.min(...counts), entries, problems };
}

interface Compared {
  readonly replicas: number;
  readonly entries: number;
  readonly difference: string | undefined;
}

/** A text tells why they cannot be compared at this moment. */
async function compareDigests(nodes: readonly string[], digestOf: (node: string) => Promise<DigestReplicaResponse>): Promise<Compared | string> {
  try {
    const digests = await Promise.all(nodes.map(digestOf));
    const first = digests[0]!;
    const positions = digests.map(({ applied }) => `(${applied?.epoch},${applied?.seq})`);
    if (new Set(positions).size > 1) return `applied positions differ: ${nodes.map((node, index) => `${node} ${positions[index]}`).join(', ')}`;
    const differs = digests.findIndex((digest) => digest.content !== first.content || digest.entries !== first.entries || digest.leaves.join() !== first.leaves.join());
    const difference = differs < 0 ? undefined : `${nodes[0]} and ${nodes[differs]} hold different entries at ${positions[0]}`;
    return { replicas: nodes.length, entries: first.entries, difference };
  } catch (error) {
    if (!isAtollError(error)) throw error;
    return `${error.reason}: ${error.message}`;
  }
}

/** One connection per storage node. */
class Peers {
  readonly #clients = new Map<string, ReplicationClient>();

  async digest(address: string | undefined, keyspace: string, partition: number): Promise<DigestReplicaResponse> {
    if (address === undefined) return Promise.reject(new Error(`a replica of partition ${partition} is on a node without address`));
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = new ReplicationClient(address, credentials.createInsecure(), createChannelOptions());
      this.#clients.set(address, client);
    }
    return callUnary(client, 'digestReplica', { keyspace, partition }, { deadlineMs: CALL_DEADLINE_MS });
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }
}

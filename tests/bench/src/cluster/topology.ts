import { credentials } from '@grpc/grpc-js';
import { CacheClient, type TopologyPartition, type WatchTopologyResponse } from '@atoll/contracts/atoll/v1/cache';
import { AtollError } from '@atoll/core-errors';
import { DEFAULT_KEYSPACE } from '@atoll/core-runtime';
import { callServerStream, createChannelOptions } from '@atoll/platform-grpc';

/** Where the partitions of one keyspace are, as a router tells it. */
export interface Topology {
  readonly keyspace: string;
  /** Addresses (host:port) by node id. */
  readonly nodes: ReadonlyMap<string, string>;
  readonly partitions: readonly TopologyPartition[];
}

export interface WatchOptions {
  /** host:port of a router. */
  readonly router: string;
  /** Empty means `default`. */
  readonly keyspace?: string;
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

/** The present topology first, then each change. Leaving the loop closes the connection. */
export async function* watchTopology({ router, keyspace = '', deadlineMs, signal }: WatchOptions): AsyncGenerator<Topology, void, undefined> {
  const name = keyspace === '' ? DEFAULT_KEYSPACE : keyspace;
  const client = new CacheClient(router, credentials.createInsecure(), createChannelOptions());
  try {
    const nodes = new Map<string, string>();
    const partitions = new Map<number, TopologyPartition>();
    const settings = { ...(deadlineMs !== undefined && { deadlineMs }), signal };
    for await (const change of callServerStream(client, 'watchTopology', { keyspace: name }, settings)) {
      apply(change, name, nodes, partitions);
      yield { keyspace: name, nodes: new Map(nodes), partitions: [...partitions.values()].sort((left, right) => left.id - right.id) };
    }
  } finally {
    client.close();
  }
}

function apply(change: WatchTopologyResponse, keyspace: string, nodes: Map<string, string>, partitions: Map<number, TopologyPartition>): void {
  if (change.full) {
    nodes.clear();
    partitions.clear();
  }
  for (const { id, address } of change.nodes) nodes.set(id, address);
  for (const id of change.removedNodes) nodes.delete(id);
  for (const partition of change.partitions) if (partition.keyspace === keyspace) partitions.set(partition.id, partition);
}

const READ_DEADLINE_MS = 10_000;

/** The topology of now. Throws KEYSPACE_NOT_FOUND when the router knows no such keyspace. */
export async function readTopology(options: WatchOptions): Promise<Topology> {
  for await (const topology of watchTopology({ deadlineMs: READ_DEADLINE_MS, ...options })) {
    if (topology.partitions.length === 0) throw new AtollError('KEYSPACE_NOT_FOUND', `the router knows no keyspace ${topology.keyspace}`);
    return topology;
  }
  throw new AtollError('PEER_UNAVAILABLE', `router ${options.router} told no topology`);
}

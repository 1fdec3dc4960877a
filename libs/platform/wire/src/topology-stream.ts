import type { ServerWritableStream } from '@grpc/grpc-js';
import type { TopologyNode, TopologyPartition, WatchTopologyRequest, WatchTopologyResponse } from '@atoll/contracts/atoll/v1/cache';
import { keyspaceNotFound, poolOf, type Member, type NodeRecord, type PartitionRecord } from '@atoll/core-membership';
import type { ClusterChange, ClusterView } from '@atoll/platform-etcd';
import { writeWithBackpressure, type CallContext } from '@atoll/platform-grpc';

/**
 * The table, then its changes. Changes that come while the client is slow are put together, so at most one
 * message per client waits (I10).
 */
export async function streamTopology(
  call: ServerWritableStream<WatchTopologyRequest, WatchTopologyResponse>,
  context: CallContext,
  view: ClusterView,
): Promise<void> {
  const { keyspace } = call.request;
  if (keyspace !== '' && view.keyspace(keyspace) === undefined) throw keyspaceNotFound(keyspace);
  const changes = new ChangedNames();
  const unsubscribe = view.subscribe((batch) => changes.add(batch));
  try {
    await writeWithBackpressure(call, wholeTable(view, keyspace), context.signal);
    for (;;) {
      await changes.arrived(context.signal);
      const message = changedPart(view, keyspace, changes.take());
      if (message !== undefined) await writeWithBackpressure(call, message, context.signal);
    }
  } finally {
    unsubscribe();
  }
}

interface Names {
  readonly nodes: Set<string>;
  readonly keyspaces: Set<string>;
  readonly partitions: Map<string, Set<number>>;
}

const noNames = (): Names => ({ nodes: new Set(), keyspaces: new Set(), partitions: new Map() });

/** What changed since the last message: names only, so its size is bounded by the table's. */
class ChangedNames {
  #names = noNames();
  #isEmpty = true;
  #wake: (() => void) | undefined;

  add(changes: readonly ClusterChange[]): void {
    for (const change of changes) {
      if (change.kind === 'node') this.#names.nodes.add(change.id);
      else if (change.kind === 'keyspace') this.#names.keyspaces.add(change.name);
      else if (change.kind === 'partition') {
        const partitions = this.#names.partitions.get(change.keyspace);
        if (partitions === undefined) this.#names.partitions.set(change.keyspace, new Set([change.partition]));
        else partitions.add(change.partition);
      } else continue;
      this.#isEmpty = false;
    }
    if (!this.#isEmpty) this.#wake?.();
  }

  /** Resolves when there is something; throws the signal's reason. */
  arrived(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#isEmpty) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(signal.reason as Error);
      signal.addEventListener('abort', onAbort, { once: true });
      this.#wake = () => {
        this.#wake = undefined;
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
    });
  }

  take(): Names {
    const names = this.#names;
    this.#names = noNames();
    this.#isEmpty = true;
    return names;
  }
}

function wholeTable(view: ClusterView, keyspace: string): WatchTopologyResponse {
  const specs = keyspace === '' ? [...view.keyspaces().values()] : [view.keyspaces().get(keyspace)].filter((spec) => spec !== undefined);
  return {
    full: true,
    revision: view.revision,
    nodes: Array.from(view.nodes().values(), toTopologyNode),
    removedNodes: [],
    keyspaces: specs.map(({ name, partitionCount }) => ({ name, partitionCount })),
    removedKeyspaces: [],
    partitions: specs.flatMap(({ name }) => view.partitions(name).map(({ record }) => toTopologyPartition(record))),
  };
}

const toTopologyNode = (node: NodeRecord): TopologyNode => ({ id: node.id, address: node.address, zone: node.zone, pool: poolOf(node) });

/** Undefined when nothing of it concerns the client. */
function changedPart(view: ClusterView, keyspace: string, names: Names): WatchTopologyResponse | undefined {
  const isWanted = (name: string): boolean => keyspace === '' || name === keyspace;
  const message: WatchTopologyResponse = { full: false, revision: view.revision, nodes: [], removedNodes: [], keyspaces: [], removedKeyspaces: [], partitions: [] };
  for (const id of names.nodes) {
    const node = view.nodes().get(id);
    if (node === undefined) message.removedNodes.push(id);
    else message.nodes.push(toTopologyNode(node));
  }
  for (const name of names.keyspaces) {
    if (!isWanted(name)) continue;
    const spec = view.keyspace(name);
    if (spec === undefined) message.removedKeyspaces.push(name);
    else message.keyspaces.push({ name, partitionCount: spec.partitionCount });
  }
  for (const [name, partitions] of names.partitions) {
    if (!isWanted(name)) continue;
    for (const partition of partitions) {
      const record = view.partition(name, partition)?.record;
      if (record !== undefined) message.partitions.push(toTopologyPartition(record));
    }
  }
  const { nodes, removedNodes, keyspaces, removedKeyspaces, partitions } = message;
  const isEmpty = [nodes, removedNodes, keyspaces, removedKeyspaces, partitions].every((list) => list.length === 0);
  return isEmpty ? undefined : message;
}

function toTopologyPartition({ keyspace, partition, epoch, leader, inSync, learners }: PartitionRecord): TopologyPartition {
  const nodesOf = (members: readonly Member[]): string[] => members.map(({ node }) => node);
  return { keyspace, id: partition, epoch, leader: leader?.node ?? '', inSync: nodesOf(inSync), learners: nodesOf(learners) };
}

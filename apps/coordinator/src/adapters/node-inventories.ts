import { isAtollError, type AtollError } from '@atoll/core-errors';
import { partitionName, type Action, type NodeInventory, type NodeRecord } from '@atoll/core-membership';
import type { NodeId, PartitionId } from '@atoll/core-runtime';
import type { ConnectPeer, ReplicationPeer } from './replication-peer.ts';

const RETRY_MS = 500;

type EnsureAction = Extract<Action, { kind: 'ensure' }>;

export interface NodeInventoriesOptions {
  readonly connect: ConnectPeer;
  /** Of the coordinator's term. */
  readonly revision: number;
  /** Time after which a node is asked again what it holds. */
  readonly refreshMs: number;
  /** Called when there is something new to decide on. */
  readonly onChange: () => void;
  readonly onProblem: (node: string, error: unknown) => void;
}

interface Node {
  readonly address: string;
  readonly incarnation: string;
  readonly peer: ReplicationPeer;
  inventory: NodeInventory | undefined;
  /** One call at a time, so that no answer is older than what it replaces. */
  isBusy: boolean;
  /** Its failures are told once until it answers again. */
  isFailing: boolean;
  dueMs: number;
  /** Why it makes no replicas of a keyspace, by keyspace id. */
  readonly refusals: Map<string, AtollError>;
  /** When each partition was asked for; an answer that is of no use is not asked for again at once. */
  readonly askedMs: Map<string, number>;
}

/**
 * What each registered process holds, as it said itself. A process that does not answer is one of which nothing
 * is known: nothing is decided that rests on it.
 */
export class NodeInventories {
  readonly #options: NodeInventoriesOptions;
  readonly #nodes = new Map<string, Node>();
  #isClosed = false;

  constructor(options: NodeInventoriesOptions) {
    this.#options = options;
  }

  /** By node id; only processes that have answered. */
  current(): ReadonlyMap<string, NodeInventory> {
    const known = new Map<string, NodeInventory>();
    for (const [id, { inventory }] of this.#nodes) if (inventory !== undefined) known.set(id, inventory);
    return known;
  }

  /** Follows the registrations, and asks whoever is due. Does not wait for the answers. */
  sync(registered: ReadonlyMap<string, NodeRecord>, nowMs: number): void {
    for (const [id, node] of this.#nodes) {
      const record = registered.get(id);
      if (record?.incarnation === node.incarnation && record.address === node.address) continue;
      node.peer.close();
      this.#nodes.delete(id);
    }
    for (const { id, address, incarnation } of registered.values()) {
      let node = this.#nodes.get(id);
      if (node === undefined) {
        node = { address, incarnation, peer: this.#options.connect(address), inventory: undefined, isBusy: false, isFailing: false, dueMs: nowMs, refusals: new Map(), askedMs: new Map() };
        this.#nodes.set(id, node);
      }
      if (node.dueMs <= nowMs) void this.#list(id, node, nowMs);
    }
  }

  /** Asks a node for replicas. Does nothing while another call to it is under way, or right after the same one: the caller asks again. */
  ensure({ node: id, keyspace, keyspaceId, partitions }: EnsureAction, nowMs: number): void {
    const node = this.#nodes.get(id);
    if (node?.inventory === undefined || node.isBusy) return;
    const isDue = (partition: PartitionId): boolean => nowMs - (node.askedMs.get(partitionName(keyspace, partition)) ?? -Infinity) >= RETRY_MS;
    const due = partitions.filter(isDue);
    if (due.length === 0) return;
    for (const partition of due) node.askedMs.set(partitionName(keyspace, partition), nowMs);
    void this.#call(id, node, nowMs, async () => {
      const { revision } = this.#options;
      const answer = await node.peer.ensureReplicas({ revision, keyspace, keyspaceId, partitions: due }).catch((error: unknown) => {
        // The node answers and knows what it holds; it just cannot hold this.
        if (!isAtollError(error) || error.reason !== 'INVALID_ARGUMENT') throw error;
        if (!node.refusals.has(keyspaceId)) this.#options.onProblem(id, error);
        node.refusals.set(keyspaceId, error);
        return undefined;
      });
      if (answer === undefined) return;
      const made = checkProcess(node, answer);
      node.refusals.delete(keyspaceId);
      node.inventory = { incarnation: node.incarnation, replicas: new Map([...(node.inventory?.replicas ?? []), ...made.replicas]) };
    });
  }

  /** Why some node refuses to make replicas of the keyspace; undefined when none does. */
  refusalOf(keyspaceId: string): { readonly node: string; readonly error: AtollError } | undefined {
    for (const [node, { refusals }] of this.#nodes) {
      const error = refusals.get(keyspaceId);
      if (error !== undefined) return { node, error };
    }
    return undefined;
  }

  /** Why this node makes no replicas of the keyspace; undefined when it did, or was not asked since `forgetRefusal`. */
  refusalBy(node: string, keyspaceId: string): AtollError | undefined {
    return this.#nodes.get(node)?.refusals.get(keyspaceId);
  }

  /** The node is to be asked again: what stood in the way may be gone. */
  forgetRefusal(node: string, keyspaceId: string): void {
    this.#nodes.get(node)?.refusals.delete(keyspaceId);
  }

  /** A replica that no record names any more is about to be dropped by its node: it must be asked for again. */
  forget(id: NodeId, partition: string): void {
    const node = this.#nodes.get(id);
    if (node?.inventory === undefined) return;
    const replicas = new Map(node.inventory.replicas);
    replicas.delete(partition);
    node.askedMs.delete(partition);
    node.inventory = { ...node.inventory, replicas };
  }

  close(): void {
    this.#isClosed = true;
    for (const { peer } of this.#nodes.values()) peer.close();
    this.#nodes.clear();
  }

  #list(id: string, node: Node, nowMs: number): Promise<void> {
    return this.#call(id, node, nowMs, async () => {
      node.inventory = checkProcess(node, await node.peer.listReplicas());
      node.dueMs = nowMs + this.#options.refreshMs;
      node.askedMs.clear();
    });
  }

  async #call(id: string, node: Node, nowMs: number, work: () => Promise<void>): Promise<void> {
    if (node.isBusy) return;
    node.isBusy = true;
    try {
      await work();
      node.isFailing = false;
    } catch (error) {
      node.inventory = undefined;
      node.dueMs = nowMs + RETRY_MS;
      const isNews = !node.isFailing && !this.#isClosed && this.#nodes.get(id) === node;
      node.isFailing = true;
      if (isNews) this.#options.onProblem(id, error);
    } finally {
      node.isBusy = false;
      if (!this.#isClosed) this.#options.onChange();
    }
  }
}

/** What another process says is nothing that this one holds: the address may have been taken over. */
function checkProcess({ address, incarnation }: Node, said: NodeInventory): NodeInventory {
  if (said.incarnation === incarnation) return said;
  throw new Error(`another process answers at ${address}: incarnation ${said.incarnation}, registered is ${incarnation}`);
}

// How far the copies of running operators are, as the nodes that receive them say; the bound that jobs set on the nodes that
// send them, and into how many sub-ranges those that receive split them.
import type { GetTransfersResponse, ReplicaTransfer, ShardedTransfer } from '@atoll/contracts/atoll/v1/transfer';
import { partitionName, type NodeRecord, type PartitionRecord } from '@atoll/core-membership';
import { hasEnded, isFilling, targetsOf, type MigrationJob, type MigrationOperator } from '@atoll/core-migration';
import { toNodeId } from '@atoll/core-runtime';
import type { TransferPeers } from './transfer-peers.ts';

/** Time between two questions to a node. */
const ASK_MS = 500;
/** What is said to nodes holds for so long unless it is repeated, which it is with every question. */
const SAID_VALID_MS = 10_000;

export interface CopyProgress {
  readonly bytes: number;
  readonly entries: number;
  /** 0 to 1. */
  readonly progress: number;
}

interface Answer extends Pick<GetTransfersResponse, 'memoryUsedBytes' | 'memoryLimitBytes'> {
  /** By `partitionName`. */
  readonly copies: ReadonlyMap<string, ReplicaTransfer>;
}

const NOTHING: CopyProgress = { bytes: 0, entries: 0, progress: 0 };

export interface TransferWatchOptions {
  readonly peers: TransferPeers;
  /** There is something new. */
  readonly onNews: () => void;
  readonly onProblem: (node: string, error: unknown) => void;
}

export class TransferWatch {
  readonly #options: TransferWatchOptions;
  /** By node, the latest answer. */
  readonly #answers = new Map<string, Answer>();
  readonly #limited = new Set<string>();
  readonly #sharding = new Set<string>();
  #askedMs = -Infinity;
  #isAsking = false;

  constructor(options: TransferWatchOptions) {
    this.#options = options;
  }

  /** Summed over the operator's targets; the least progress of them. */
  of(operator: MigrationOperator): CopyProgress {
    if (operator.step === 'WAITING' || hasEnded(operator)) return { bytes: operator.bytes, entries: operator.entries, progress: operator.step === 'DONE' ? 1 : 0 };
    const name = partitionName(operator.keyspace, operator.partition);
    const copies = targetsOf(operator).map((node) => this.#answers.get(node)?.copies.get(name));
    if (copies.every((copy) => copy === undefined)) return { bytes: operator.bytes, entries: operator.entries, progress: operator.bytes > 0 ? 1 : 0 };
    return copies.reduce<CopyProgress>(
      (sum, copy) => ({ bytes: sum.bytes + (copy?.bytes ?? 0), entries: sum.entries + (copy?.entries ?? 0), progress: Math.min(sum.progress, copy?.progress ?? 0) }),
      { ...NOTHING, progress: 1 },
    );
  }

  /** What the node last said of its memory; undefined before. */
  memoryOf(node: string): { readonly usedBytes: number; readonly limitBytes: number } | undefined {
    const answer = this.#answers.get(node);
    return answer && { usedBytes: answer.memoryUsedBytes, limitBytes: answer.memoryLimitBytes };
  }

  /** Asks the nodes that receive, and bounds those that send, if it is time. Does not wait. */
  tick(
    operators: readonly MigrationOperator[],
    jobs: ReadonlyMap<string, MigrationJob>,
    cluster: { readonly nodes: ReadonlyMap<string, NodeRecord>; readonly recordOf: (operator: MigrationOperator) => PartitionRecord | undefined },
    nowMs: number,
  ): void {
    const filling = operators.filter(isFilling);
    // Also those that were filled just now: how much it was is told behind the end of the copy.
    const receivers = new Set(operators.filter(({ step }) => step !== 'WAITING').flatMap((operator) => targetsOf(operator)));
    for (const node of this.#answers.keys()) if (!receivers.has(toNodeId(node))) this.#answers.delete(node);
    if (this.#isAsking || nowMs - this.#askedMs < ASK_MS || (receivers.size === 0 && this.#limited.size === 0 && this.#sharding.size === 0)) return;
    this.#askedMs = nowMs;
    this.#isAsking = true;
    const bounds = boundsOf(filling, jobs, cluster.recordOf);
    void Promise.all([...[...receivers].map((node) => this.#ask(node, cluster.nodes.get(node))), ...this.#say(this.#limited, bounds, cluster.nodes, this.#limit), ...this.#say(this.#sharding, shardsOf(filling, jobs), cluster.nodes, this.#shard)]).finally(() => {
      this.#isAsking = false;
      this.#options.onNews();
    });
  }

  /** Asks these nodes now: what they copied is written down with the step that is over. */
  async refresh(nodes: Iterable<string>, registered: ReadonlyMap<string, NodeRecord>): Promise<void> {
    await Promise.all([...new Set(nodes)].map((node) => this.#ask(node, registered.get(node))));
  }

  async #ask(node: string, record: NodeRecord | undefined): Promise<void> {
    if (record === undefined) return;
    try {
      const { incarnation, replicas, memoryUsedBytes, memoryLimitBytes } = await this.#options.peers.ask(record.address);
      if (incarnation !== record.incarnation) return;
      const copies = new Map(replicas.map((replica) => [partitionName(replica.keyspace, replica.partition), replica]));
      this.#answers.set(node, { memoryUsedBytes, memoryLimitBytes, copies });
    } catch (error) {
      this.#options.onProblem(node, error);
    }
  }

  /** Says `wanted` to the nodes that are in it, and to those of `told`, once more, that there is nothing any more. */
  #say<Wanted>(told: Set<string>, wanted: ReadonlyMap<string, Wanted>, nodes: ReadonlyMap<string, NodeRecord>, call: (address: string, wanted: Wanted | undefined) => Promise<void>): Promise<void>[] {
    const calls: Promise<void>[] = [];
    for (const node of new Set([...wanted.keys(), ...told])) {
      if (wanted.has(node)) told.add(node);
      else told.delete(node);
      const address = nodes.get(node)?.address;
      if (address !== undefined) calls.push(call(address, wanted.get(node)).catch((error: unknown) => this.#options.onProblem(node, error)));
    }
    return calls;
  }

  readonly #shard = (address: string, transfers: readonly ShardedTransfer[] = []): Promise<void> => this.#options.peers.shard(address, transfers, SAID_VALID_MS);
  readonly #limit = (address: string, bytesPerSecond = 0): Promise<void> => this.#options.peers.limit(address, bytesPerSecond, SAID_VALID_MS);
}

/** What each node that receives has to split. */
function shardsOf(filling: readonly MigrationOperator[], jobs: ReadonlyMap<string, MigrationJob>): ReadonlyMap<string, readonly ShardedTransfer[]> {
  const wanted = new Map<string, ShardedTransfer[]>();
  for (const operator of filling) {
    const { keyspace, partition } = operator;
    const shards = jobs.get(operator.job)?.shards ?? 1;
    if (shards < 2) continue;
    for (const node of targetsOf(operator)) wanted.set(node, [...(wanted.get(node) ?? []), { keyspace, partition, shards }]);
  }
  return wanted;
}

/** Nodes that fill its targets: its leader's, and with sub-ranges every one that has it in sync. */
function sendersFor(operator: MigrationOperator, job: MigrationJob | undefined, record: PartitionRecord | undefined): string[] {
  const leader = record?.leader?.node;
  if (record === undefined || leader === undefined) return [];
  const others = (job?.shards ?? 1) > 1 ? record.inSync.map(({ node }) => node).filter((node) => node !== leader && !targetsOf(operator).includes(node)) : [];
  return [leader, ...others];
}

/** What each node may send: a job's bound is shared by the nodes that send for it. A node that sends for a job without one is not bounded. */
function boundsOf(filling: readonly MigrationOperator[], jobs: ReadonlyMap<string, MigrationJob>, recordOf: (operator: MigrationOperator) => PartitionRecord | undefined): ReadonlyMap<string, number> {
  const sendersOf = new Map<string, Set<string>>();
  for (const operator of filling) {
    const senders = sendersOf.get(operator.job) ?? new Set();
    for (const node of sendersFor(operator, jobs.get(operator.job), recordOf(operator))) senders.add(node);
    sendersOf.set(operator.job, senders);
  }
  const bounds = new Map<string, number>();
  const unbounded = new Set<string>();
  for (const [id, senders] of sendersOf) {
    const total = jobs.get(id)?.bytesPerSecond ?? 0;
    for (const node of senders) {
      if (total === 0) unbounded.add(node);
      else bounds.set(node, (bounds.get(node) ?? 0) + Math.max(1, Math.floor(total / senders.size)));
    }
  }
  for (const node of unbounded) bounds.delete(node);
  return bounds;
}

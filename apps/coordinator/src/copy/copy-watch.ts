// How far copies are, as the nodes say that lead their partitions.
import { credentials } from '@grpc/grpc-js';
import { CopyClient, type CopyStatus } from '@atoll/contracts/atoll/v1/copy';
import type { NodeRecord } from '@atoll/core-membership';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { PeersByAddress } from '../adapters/peers-by-address.ts';

/** Time between two questions to a node; and while something waits for the answer. */
const ASK_MS = 500;
const ASK_SOON_MS = 10;

export interface CopyWatchOptions {
  readonly deadlineMs: number;
  readonly onProblem: (node: string, error: unknown) => void;
}

export class CopyWatch {
  readonly #options: CopyWatchOptions;
  readonly #peers = new PeersByAddress((address) => new CopyClient(address, credentials.createInsecure(), createChannelOptions()));
  /** By node, the latest answer, by `placeOf`. */
  readonly #answers = new Map<string, ReadonlyMap<string, readonly CopyStatus[]>>();
  #askedMs = -Infinity;
  #isAsking = false;

  constructor(options: CopyWatchOptions) {
    this.#options = options;
  }

  /** What the node last said of a partition of a copy, one for each partition of the source; none before. */
  of(node: string | undefined, keyspaceId: string, partition: number): readonly CopyStatus[] {
    return this.#answers.get(node ?? '')?.get(placeOf({ keyspaceId, partition })) ?? [];
  }

  /** Whether the node's latest answer is there. */
  hasAnswered(node: string | undefined): boolean {
    return this.#answers.has(node ?? '');
  }

  /** Asks these nodes now, beside those that are asked anyway. Resolves when each has answered, or has not in so many ms. */
  async refresh(wanted: ReadonlySet<string>, nodes: ReadonlyMap<string, NodeRecord>, deadlineMs: number): Promise<void> {
    await Promise.all([...wanted].map((node) => this.#ask(node, nodes.get(node), deadlineMs)));
  }

  /** Those of the nodes that answer within so many ms. */
  async answering(wanted: ReadonlySet<string>, nodes: ReadonlyMap<string, NodeRecord>, deadlineMs: number): Promise<ReadonlySet<string>> {
    await this.refresh(wanted, nodes, deadlineMs);
    return new Set([...wanted].filter((node) => this.hasAnswered(node)));
  }

  /** Asks these nodes if it is time. Does not wait. */
  tick(wanted: ReadonlySet<string>, nodes: ReadonlyMap<string, NodeRecord>, nowMs: number, isUrgent = false): void {
    for (const node of this.#answers.keys()) if (!wanted.has(node)) this.#answers.delete(node);
    this.#peers.retain(new Set([...wanted].flatMap((node) => nodes.get(node)?.address ?? [])));
    if (this.#isAsking || nowMs - this.#askedMs < (isUrgent ? ASK_SOON_MS : ASK_MS) || wanted.size === 0) return;
    this.#askedMs = nowMs;
    this.#isAsking = true;
    void Promise.all([...wanted].map((node) => this.#ask(node, nodes.get(node)))).finally(() => {
      this.#isAsking = false;
    });
  }

  close(): void {
    this.#peers.close();
  }

  async #ask(node: string, record: NodeRecord | undefined, deadlineMs = this.#options.deadlineMs): Promise<void> {
    try {
      const answer = record && (await callUnary(this.#peers.at(record.address), 'getCopies', {}, { deadlineMs }));
      if (answer !== undefined && answer.incarnation === record?.incarnation) this.#answers.set(node, Map.groupBy(answer.copies, placeOf));
      else this.#answers.delete(node);
    } catch (error) {
      // What it said before grows old: nothing is better known than something that was.
      this.#answers.delete(node);
      this.#options.onProblem(node, error);
    }
  }
}

const placeOf = ({ keyspaceId, partition }: Pick<CopyStatus, 'keyspaceId' | 'partition'>): string => `${keyspaceId}/${partition}`;

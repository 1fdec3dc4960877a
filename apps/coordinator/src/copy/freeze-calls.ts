// Asks nodes that lead partitions of a source whether they stand still (R37).
import { credentials } from '@grpc/grpc-js';
import { CopyClient, type ConfirmFreezeRequest, type FrozenPartition } from '@atoll/contracts/atoll/v1/copy';
import type { PartitionRecord } from '@atoll/core-membership';
import type { ClusterView } from '@atoll/platform-etcd';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { PeersByAddress } from '../adapters/peers-by-address.ts';

export interface FreezeCallsOptions {
  /** Longest call, in ms: writes wait meanwhile, and, while a source is sealed, decisions. */
  readonly deadlineMs: number;
  readonly onProblem: (address: string, problem: unknown) => void;
}

export class FreezeCalls {
  readonly #options: FreezeCallsOptions;
  readonly #peers = new PeersByAddress((address) => new CopyClient(address, credentials.createInsecure(), createChannelOptions()));

  constructor(options: FreezeCallsOptions) {
    this.#options = options;
  }

  /** Those of the partitions that do. Never throws: a node that does not answer confirms nothing. */
  async ask(address: string, request: ConfirmFreezeRequest): Promise<readonly FrozenPartition[]> {
    try {
      const { partitions, problem } = await callUnary(this.#peers.at(address), 'confirmFreeze', request, { deadlineMs: this.#options.deadlineMs });
      if (problem !== '') this.#options.onProblem(address, problem);
      return partitions;
    } catch (error) {
      this.#options.onProblem(address, error);
      return [];
    }
  }

  close(): void {
    this.#peers.close();
  }
}

/** Partitions by the address of the node that leads them; those without a leader that is registered are left out. */
export function leadersOf(view: Pick<ClusterView, 'nodes'>, records: Iterable<PartitionRecord>): ReadonlyMap<string, number[]> {
  const byAddress = new Map<string, number[]>();
  for (const { leader, partition } of records) {
    const address = leader === undefined ? undefined : view.nodes().get(leader.node)?.address;
    if (address !== undefined) byAddress.set(address, [...(byAddress.get(address) ?? []), partition]);
  }
  return byAddress;
}

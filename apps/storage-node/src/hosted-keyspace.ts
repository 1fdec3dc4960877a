import { keyspaceTag } from '@atoll/platform-wire';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import type { Hash64 } from '@atoll/core-runtime';
import type { MemoryAccount } from '@atoll/core-store';
import type { HostedReplica } from './hosted-replica.ts';

/** A keyspace of which this node holds replicas. */
export class HostedKeyspace {
  readonly id: string;
  readonly account: MemoryAccount;
  /** Stands for the keyspace in session tokens. */
  readonly tag: Hash64;
  /** Reads of single keys that were answered here, by whether the key had an entry. */
  hits = 0;
  misses = 0;
  readonly #replicas: (HostedReplica | undefined)[];
  #spec: KeyspaceSpec;

  constructor(spec: KeyspaceSpec, account: MemoryAccount) {
    this.id = spec.id;
    this.account = account;
    this.tag = keyspaceTag(spec.id);
    this.#spec = spec;
    this.#replicas = Array.from({ length: spec.partitionCount });
  }

  get spec(): KeyspaceSpec {
    return this.#spec;
  }

  update(spec: KeyspaceSpec): void {
    this.#spec = spec;
    this.account.setShare(spec.memoryShare);
  }

  partitionOf(key: Uint8Array): number {
    return partitionOfToken(tokenOfKey(key), this.#spec.partitionCount);
  }

  replica(partition: number): HostedReplica | undefined {
    return this.#replicas[partition];
  }

  setReplica(partition: number, replica: HostedReplica | undefined): void {
    this.#replicas[partition] = replica;
  }

  *replicas(): Iterable<HostedReplica> {
    for (const replica of this.#replicas) if (replica !== undefined) yield replica;
  }
}

import type { PartitionReplica } from '@atoll/core-replication';
import { encodePosition } from '@atoll/platform-wire';
import type { Hash64 } from '@atoll/core-runtime';
import type { FollowerLink } from './replication/follower-session.ts';
import type { WalJournal } from './replica-journal.ts';

/** A replica with what this process keeps beside it. */
export class HostedReplica {
  readonly replica: PartitionReplica;
  readonly keyspace: string;
  readonly partition: number;
  readonly journal: WalJournal | undefined;
  /** Monotonic time of its making: one that no record names for long is dropped. */
  readonly createdMs: number;
  /** Whether a record has named it: from then on, one that does not ends it. */
  wasNamed = false;
  /** Its data is gone: whatever still comes for it is too late. */
  isDropped = false;
  /** Streams of the replicas that follow this one, while it leads. */
  readonly followers = new Map<string, FollowerLink>();
  /** Told when something was applied, and when the replica is dropped. */
  readonly watchers = new Set<() => void>();
  readonly #tag: Hash64;
  #sessionSeq = -1;
  #sessionEpoch = -1;
  #session: Buffer = Buffer.alloc(0);

  constructor(options: {
    replica: PartitionReplica;
    tag: Hash64;
    journal: WalJournal | undefined;
    createdMs: number;
  }) {
    this.replica = options.replica;
    this.keyspace = options.replica.state.identity.keyspace;
    this.partition = options.replica.state.identity.partition;
    this.journal = options.journal;
    this.createdMs = options.createdMs;
    this.#tag = options.tag;
    this.replica.state.onApplied = this.wakeWatchers;
  }

  readonly wakeWatchers = (): void => {
    if (this.watchers.size > 0) for (const wake of this.watchers) wake();
  };

  /** Session token of what a reader has seen here; made anew only when something was applied since. */
  appliedSession(): Buffer {
    const { state } = this.replica;
    const { epoch, seq } = state.appliedPosition;
    if (seq !== this.#sessionSeq || epoch !== this.#sessionEpoch) {
      this.#session = this.sessionAt(epoch, seq);
      this.#sessionSeq = seq;
      this.#sessionEpoch = epoch;
    }
    return this.#session;
  }

  /** Session token of a writer: it has seen its own write. */
  sessionAt(epoch: number, seq: number): Buffer {
    return encodePosition(this.#tag, { partition: this.partition, generation: this.replica.state.generation.counter, epoch, seq });
  }
}

import { hasReplica, membersOf } from '@atoll/core-membership';
import type { PartitionReplica, ReplicaRole } from '@atoll/core-replication';
import { encodePosition } from '@atoll/platform-wire';
import type { Hash64, ReplicaId } from '@atoll/core-runtime';
import type { FollowerLink } from './replication/follower-session.ts';
import type { WalJournal } from './replica-journal.ts';

export interface HandOverTrace {
  readonly epoch: number;
  readonly traceparent: string;
  /** Monotonic time from which on requests have nothing to do with it any more. */
  readonly untilMs: number;
}

/** A replica with what this process keeps beside it. */
export class HostedReplica {
  readonly replica: PartitionReplica;
  readonly keyspace: string;
  readonly partition: number;
  readonly journal: WalJournal | undefined;
  /** Its share of the node's log at this moment. */
  logBytesMax: number;
  /** Monotonic time of its making: one that no record names for long is dropped. */
  readonly createdMs: number;
  /** Whether a record has named it: from then on, one that does not ends it. */
  wasNamed = false;
  /** Its data is gone: whatever still comes for it is too late. */
  isDropped = false;
  /** Trace of the call that had it made, for the install that fills it. */
  orderedBy: string | undefined;
  /** Trace of the last planned transfer that this replica, as the leader of `epoch`, was asked for and did not refuse; requests that meet it link to it. */
  handOver: HandOverTrace | undefined;
  /** Trace of the cut-over that this replica was last asked to stand still for, by the id that its record names then; requests that are refused for it link to it. */
  cutOver: { readonly id: string; readonly traceparent: string } | undefined;
  /** The role that streams and leases were last told of. */
  toldRole: ReplicaRole | undefined;
  /** Whether it led under a valid lease when that was last looked at. */
  hadLease = false;
  /** When it last led under a valid lease, as far as that was looked at (R35). */
  ledUntilMs = Number.NEGATIVE_INFINITY;
  /** Streams of the replicas that follow this one, while it leads. */
  readonly followers = new Map<string, FollowerLink>();
  /** Told when something was applied, and when the replica is dropped. */
  readonly watchers = new Set<() => void>();
  readonly #tag: Hash64;
  #epoch = 0;
  #epochSinceMs: number;
  /** Epoch of the last office in which this replica has begun to serve. */
  #servedEpoch = 0;
  #sessionSeq = -1;
  #sessionEpoch = -1;
  #session: Buffer = Buffer.alloc(0);

  constructor(options: {
    replica: PartitionReplica;
    tag: Hash64;
    journal: WalJournal | undefined;
    createdMs: number;
    logBytesMax: number;
  }) {
    this.replica = options.replica;
    this.keyspace = options.replica.state.identity.keyspace;
    this.partition = options.replica.state.identity.partition;
    this.journal = options.journal;
    this.createdMs = options.createdMs;
    this.logBytesMax = options.logBytesMax;
    this.#epochSinceMs = options.createdMs;
    this.#tag = options.tag;
    this.replica.state.onApplied = this.wakeWatchers;
  }

  readonly wakeWatchers = (): void => {
    if (this.watchers.size > 0) for (const wake of this.watchers) wake();
  };

  /** Monotonic time since when the epoch of the newest record is known here. */
  get epochSinceMs(): number {
    return this.#epochSinceMs;
  }

  noteEpoch(epoch: number, nowMs: number): void {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#epochSinceMs = nowMs;
  }

  /** Another replica spoke of an epoch (R27). Whom the record does not name may speak of another keyspace of this name. */
  hearEpochOf(replicaId: ReplicaId, epoch: number): void {
    const record = this.replica.record?.record;
    if (record !== undefined && hasReplica(membersOf(record), replicaId)) this.replica.hearEpoch(epoch);
  }

  /** How long the present office took to serve, in ms; once per office, undefined before and after. */
  takeOfficeTime(nowMs: number): number | undefined {
    const { leader } = this.replica;
    if (leader === undefined || leader.epoch === this.#servedEpoch || !leader.isServing) return undefined;
    this.#servedEpoch = leader.epoch;
    return nowMs - this.#epochSinceMs;
  }

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

/** Resolves when something behind `seq` is committed, and after `waitMs` in any case; throws the signal's reason. */
export async function movedBehind(hosted: HostedReplica, { seq, waitMs, signal }: { readonly seq: number; readonly waitMs: number; readonly signal: AbortSignal }): Promise<void> {
  signal.throwIfAborted();
  if (hosted.isDropped || hosted.replica.state.appliedSeq > seq) return;
  await new Promise<void>((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      hosted.watchers.delete(onMoved);
      signal.removeEventListener('abort', onAbort);
      act();
    };
    // At the end of the turn, so that what commits together leaves together.
    const onMoved = (): void => {
      hosted.watchers.delete(onMoved);
      setImmediate(() => settle(resolve));
    };
    const onAbort = (): void => settle(() => reject(signal.reason as Error));
    const timer = setTimeout(() => settle(resolve), waitMs);
    hosted.watchers.add(onMoved);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

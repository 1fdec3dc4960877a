import type { AckLevel, Eviction, Member, VersionedRecord } from '@atoll/core-membership';
import type { ExpiryLimits, WriteCommand } from '@atoll/core-store';
import type { Fence } from '@atoll/core-locks';
import type { Hash64 } from '@atoll/core-runtime';
import type { FollowerProgress } from './follower-progress.ts';
import type { ChangeAttempt } from './in-sync-change.ts';
import type { OpId } from './log-entry.ts';

/** One reading of both clocks, made once per turn of the shell. */
export interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

export interface WriteRequest {
  readonly key: Uint8Array;
  readonly hash: Hash64;
  readonly command: WriteCommand;
  readonly opId: OpId | undefined;
  /** How long ago the write was sent first, in ms of the sender's clock; 0 or left out: this is the first time (R21). */
  readonly repeatAgeMs?: number;
  readonly ack: AckLevel;
  /** Proof of a lock, which covers the key: refused when a later holder was seen (I9). */
  readonly fence?: Fence | undefined;
  /** It makes no room for itself: MEMORY_EXHAUSTED where something would have to be evicted. Default false. */
  readonly evictsNothing?: boolean;
}

/** What a replica is told about its keyspace and its node. May change while it runs. */
export interface ReplicaSettings {
  readonly minInSync: number;
  readonly eviction: Eviction;
  /** For how long a promise to a leader stands, in ms (R14). The same on all nodes of a cluster. */
  readonly leaseMs: number;
  /** Bytes that the keyspace may still take on this node. */
  freeBytes(): number;
  /** Time without progress after which a member leaves the in-sync set (R24), in ms. */
  readonly followerAckTimeoutMs: number;
  /** Time without lag after which a removed member may return (R24), in ms. */
  readonly rejoinAfterMs: number;
  /** Pause before a failed compare-and-swap is followed by another, in ms. */
  readonly changeRetryMs: number;
  /** Bytes that may wait for their commit before writes are refused as OVERLOADED (I10). */
  readonly uncommittedBytesMax: number;
  /** Bytes of log that are kept for replicas that return; above twice this much writes are refused (R33). */
  readonly logBytesMax: number;
  readonly expirySweep: ExpiryLimits;
}

/** What a leader asks of its shell. Calls only hand over; answers come back by methods of the leader. */
export interface LeaderHooks {
  /** There are entries to send to this follower. */
  wake(follower: FollowerProgress): void;
  /** The commit position moved: to be told within some milliseconds, or with the next entries. */
  commitMoved(follower: FollowerProgress): void;
  /** The leader gave this follower up: tell it to subscribe again. */
  cutOff(follower: FollowerProgress): void;
  /** Compare-and-swap the record in etcd; `Leader.onChangeOutcome` takes the answer. */
  requestChange(attempt: ChangeAttempt): void;
  /** Read the record, linearizable; `PartitionReplica.onRecord` takes it. */
  readRecord(): void;
  /** The record changed by this leader's own hand. */
  recordChanged(record: VersionedRecord): void;
  /**
   * A lease is about to be judged, at `nowMs` of a turn that has just begun: clocks that stood still since the last one
   * are to be noticed now, by `Leader.onLeasesDropped`. A machine that wakes up finds answers of the disk and of
   * followers, not requests alone (R16, R17).
   */
  beforeLease(nowMs: number): void;
  /** Until when `member` has promised not to lead a higher epoch than `epoch`, monotonic ms; -Infinity without (R14). */
  leaseUntilMs(member: Member, epoch: number): number;
  /**
   * Until when an office of this keyspace may be held without another look at etcd, monotonic ms: successors of a
   * keyspace that is reset without an operator come by waiting alone (R15). Infinity where an operator is needed.
   */
  fenceUntilMs(): number;
  /**
   * Asks the coordinator whether the last follower may be removed, since it may be this leader that is cut off (R10).
   * `Leader.onRemovalAnswer` takes the answer. Asked again while there is none.
   */
  askRemoval(member: Member): void;
  /** Whether the member's node has said that it stops: it leaves the set while it still acknowledges (R29). */
  isStopping(member: Member): boolean;
  /** Whether one that is to go may go now: many partitions that change at once would be felt. Asked again with each tick. */
  mayPart(member: Member): boolean;
}

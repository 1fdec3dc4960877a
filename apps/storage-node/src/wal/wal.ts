import type { NodeId, ReplicaId } from '@atoll/core-runtime';
import type { WalFileSystem } from './file-system.ts';

/** Whose data a replica's log is; never changes. */
export interface ReplicaIdentity {
  readonly replicaId: ReplicaId;
  readonly keyspace: string;
  readonly keyspaceId: string;
  readonly partition: number;
  /** SYNC replicas survive any stop, ASYNC ones a clean stop only (R1). */
  readonly durability: 'ASYNC' | 'SYNC';
}

/** Lineage of the data (R3). */
export interface ReplicaGeneration {
  readonly counter: number;
  readonly id: string;
}

/** An entry's place in a partition's log. */
export interface LogTail {
  readonly epoch: number;
  readonly seq: number;
}

/** Consecutive entries as the caller encoded them; opaque here. */
export interface EntryBatch {
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** Epoch of the entry at `lastSeq`. */
  readonly lastEpoch: number;
  /** At most FRAME_PAYLOAD_BYTES_MAX less a record's overhead; must not be changed until it is durable. */
  readonly bytes: Uint8Array;
}

export interface StoredCheckpoint {
  readonly applied: LogTail;
  /** The partition's time at `applied`, in milliseconds (R23). */
  readonly timeMs: number;
  /** The chunks exactly as written, one at a time. @throws WalError DAMAGED */
  chunks(): AsyncIterable<Uint8Array>;
}

/** What the log knows of one replica when it is opened. */
export interface WalReplicaState {
  readonly identity: ReplicaIdentity;
  readonly generation: ReplicaGeneration;
  readonly checkpoint: StoredCheckpoint | undefined;
  /**
   * Batches behind the checkpoint, in order and without gaps. The first one may begin at or below
   * `checkpoint.applied.seq`, and one that a truncation cut has a `lastSeq` below the last entry of its `bytes`:
   * only entries in (applied.seq, lastSeq] count. Without a checkpoint a first batch above seq 1 means that the
   * full install which this log ran beside (R33) never ended.
   */
  readonly entries: readonly EntryBatch[];
  /** At least this much was committed; a hint, since it is written with a delay. */
  readonly committedSeq: number;
  /** The last stop was a clean one. */
  readonly clean: boolean;
}

/** What recovery found and did; for the operator's log. */
export interface RecoveryReport {
  readonly clean: boolean;
  /** The end of the last segment that a crash left half-written and that was cut off; nobody was told it is durable. */
  readonly tornTail: { readonly file: string; readonly offset: number; readonly bytes: number } | undefined;
  /** ASYNC replicas given up because the last stop was not a clean one (R1). */
  readonly droppedReplicas: readonly ReplicaIdentity[];
  /** Files of an interrupted checkpoint or of dropped replicas. */
  readonly removedFiles: readonly string[];
  readonly segmentCount: number;
  readonly logBytes: number;
}

export interface WalOptions {
  /** Created if absent; one node's alone. */
  readonly directory: string;
  readonly clusterId: string;
  readonly nodeId: NodeId;
  /**
   * Called once when a write or sync failed (also while the log is opened), with a message for the operator. The process has to end: after a
   * failed fsync the kernel may have dropped the pages and a repeated one succeeds without them (R25; J. Corbet,
   * "PostgreSQL's fsync() surprise", LWN, 18 April 2018, https://lwn.net/Articles/752063/).
   */
  onFatal(error: Error): void;
  /** A group of entries begins to be written, and it is on disk: for those who watch how the disk does. */
  onFlush?(phase: 'began' | 'ended'): void;
  /** Size at which the next segment begins, in bytes; default 64 MiB. Smaller frees disk sooner and syncs directories more often. */
  readonly segmentBytes?: number;
  /** Longest time that ASYNC entries and commit hints wait for a flush that nobody asks for; default 100 ms. */
  readonly flushIntervalMs?: number;
  /** Buffered bytes that start a flush before that; default 1 MiB. */
  readonly flushBytes?: number;
  /** Buffered bytes above which `append` is refused with OVERLOADED (I10); default 256 MiB. Callers slow down earlier. */
  readonly bufferBytesMax?: number;
  /** Size of all segments above which `replicasToCheckpoint` names replicas, in bytes; default max(512 MiB, 8 * segmentBytes). */
  readonly logBytesMax?: number;
  readonly fileSystem?: WalFileSystem;
}

export interface OpenedWal {
  readonly wal: Wal;
  readonly replicas: readonly WalReplicaState[];
  readonly report: RecoveryReport;
}

/**
 * The write-ahead log of a storage node, shared by all its replicas. Calls take effect in the order they are
 * made; each is durable once `durablePosition` has reached the `position` seen after it. Every call but the
 * two that return promises is synchronous and only buffers. After a failure (`onFatal`) all of them throw.
 */
export interface Wal {
  /** The replica's id may be told to others once this is durable (R1). @throws Error if the id is known. */
  createReplica(identity: ReplicaIdentity, generation: ReplicaGeneration): void;
  /** A new lineage, or the old one begun anew by a full install: checkpoint and entries so far are void. */
  setGeneration(replicaId: ReplicaId, generation: ReplicaGeneration): void;
  /**
   * Position after the batch. The first batch of a lineage may begin anywhere, each further one follows the
   * last entry or, if that is higher, the checkpoint (I4). @throws AtollError OVERLOADED: nothing was buffered.
   */
  append(replicaId: ReplicaId, batch: EntryBatch): number;
  /** Entries above `toSeq` are void (R28). @throws Error below the checkpoint's applied seq. */
  truncate(replicaId: ReplicaId, toSeq: number): void;
  /** Coalesced: written with the next timed flush, and never flushed for its own sake before that. */
  noteCommitted(replicaId: ReplicaId, seq: number): void;
  dropReplica(replicaId: ReplicaId): void;
  /** End of everything buffered so far. */
  readonly position: number;
  /** Everything up to here is synced. */
  readonly durablePosition: number;
  /** Bytes up to `position` that are not durable. */
  readonly bufferedBytes: number;
  /** Size of all segments, in bytes. */
  readonly logBytes: number;
  /** Called after each group commit, synchronously, with the new durable position. */
  onDurable(listener: (position: number) => void): void;
  /** Asks for a sync soon. Requests made while one sync runs share the next one (group commit). */
  requestFlush(): void;
  /**
   * Stores the state at `applied` and frees the log behind it; resolves when that is durable. One at a time per
   * replica. Chunks must not be changed before it settles. @throws AtollError CANCELLED if the replica was dropped
   * or reset, or the log closed, meanwhile; Error if the disk is full or `chunks` fails: the log is as before.
   */
  checkpoint(
    replicaId: ReplicaId,
    applied: LogTail,
    timeMs: number,
    chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<void>;
  /** Replicas to checkpoint so that the log gets back below its bound, those that pin the oldest segments; mostly empty. */
  replicasToCheckpoint(): ReplicaId[];
  /** Writes what is buffered, with `clean` also the mark of a clean stop, and gives the directory free. Resolves also after a failure. */
  close(options: { clean: boolean }): Promise<void>;
}

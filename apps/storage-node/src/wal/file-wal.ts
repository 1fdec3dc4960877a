import { join } from 'node:path';
import { AtollError } from '@atoll/core-errors';
import type { ReplicaId } from '@atoll/core-runtime';
import { SyncFailure, checkpointName, writeCheckpointFile } from './checkpoint-file.ts';
import type { DirectoryLock } from './directory-lock.ts';
import type { Owner } from './file-header.ts';
import type { WalFileSystem } from './file-system.ts';
import { FRAME_PAYLOAD_BYTES_MAX } from './frame.ts';
import type { GroupCommitter } from './group-committer.ts';
import type { LogBuffer } from './log-buffer.ts';
import { encodeRecord } from './log-record.ts';
import type { LogRecord } from './log-record.ts';
import { assertFollows, assertTruncatable, pinnedSegment } from './replica-table.ts';
import type { ReplicaTable } from './replica-table.ts';
import { toCheckpointFailure } from './wal-error.ts';
import type { EntryBatch, LogTail, ReplicaGeneration, ReplicaIdentity, Wal } from './wal.ts';

/** Longest batch: a frame's payload less the record's own fields, rounded. */
export const BATCH_BYTES_MAX = FRAME_PAYLOAD_BYTES_MAX - 1024;

export interface FileWalParts {
  readonly fileSystem: WalFileSystem;
  readonly owner: Owner;
  readonly checkpointDirectory: string;
  readonly table: ReplicaTable;
  readonly buffer: LogBuffer;
  readonly committer: GroupCommitter;
  readonly lock: DirectoryLock;
  readonly bufferBytesMax: number;
  readonly logBytesMax: number;
  /** Above the number of every checkpoint file that is there. */
  readonly nextCheckpointNumber: number;
  /** Highest commit seen per replica and not yet written; emptied into the log by `flushHints`. */
  readonly hints: Map<ReplicaId, number>;
}

/** The log in segment files of one directory; made by `openWal`. */
export class FileWal implements Wal {
  readonly #parts: FileWalParts;
  readonly #checkpointing = new Set<ReplicaId>();
  #checkpointNumber: number;
  #isClosing = false;
  #closed: Promise<void> | undefined;

  constructor(parts: FileWalParts) {
    this.#parts = parts;
    this.#checkpointNumber = parts.nextCheckpointNumber;
  }

  get position(): number {
    return this.#parts.buffer.position;
  }

  get durablePosition(): number {
    return this.#parts.committer.durablePosition;
  }

  get bufferedBytes(): number {
    return this.position - this.durablePosition;
  }

  get logBytes(): number {
    return this.#parts.committer.segments.reduce((sum, segment) => sum + segment.bytes, 0);
  }

  onDurable(listener: (position: number) => void): void {
    this.#parts.committer.onDurable(listener);
  }

  requestFlush(): void {
    this.#parts.committer.request();
  }

  createReplica(identity: ReplicaIdentity, generation: ReplicaGeneration): void {
    if (this.#parts.table.get(identity.replicaId) !== undefined) throw new Error(`replica ${identity.replicaId} exists`);
    this.#add({ kind: 'CREATE', identity, generation });
  }

  setGeneration(replicaId: ReplicaId, generation: ReplicaGeneration): void {
    this.#parts.table.require(replicaId);
    this.#parts.hints.delete(replicaId);
    this.#add({ kind: 'GENERATION', replicaId, generation });
  }

  append(replicaId: ReplicaId, batch: EntryBatch): number {
    assertFollows(this.#parts.table.require(replicaId), batch);
    if (batch.bytes.length > BATCH_BYTES_MAX) throw new RangeError(`a batch of ${batch.bytes.length} bytes is longer than ${BATCH_BYTES_MAX}`);
    if (this.bufferedBytes > this.#parts.bufferBytesMax)
      throw new AtollError('OVERLOADED', `the log has ${this.bufferedBytes} bytes that are not on disk yet, more than ${this.#parts.bufferBytesMax}`);
    this.#add({ kind: 'ENTRIES', replicaId, ...batch });
    return this.position;
  }

  truncate(replicaId: ReplicaId, toSeq: number): void {
    const replica = this.#parts.table.require(replicaId);
    assertTruncatable(replica, toSeq);
    if (replica.lastSeq !== undefined && toSeq < replica.lastSeq) this.#add({ kind: 'TRUNCATE', replicaId, toSeq });
  }

  noteCommitted(replicaId: ReplicaId, seq: number): void {
    const { hints, table, committer } = this.#parts;
    const known = Math.max(table.require(replicaId).committedSeq, hints.get(replicaId) ?? 0);
    if (seq <= known) return;
    hints.set(replicaId, seq);
    committer.armTimer();
  }

  dropReplica(replicaId: ReplicaId): void {
    this.#parts.table.require(replicaId);
    this.#parts.hints.delete(replicaId);
    this.#add({ kind: 'DROP', replicaId });
  }

  async checkpoint(
    replicaId: ReplicaId,
    applied: LogTail,
    timeMs: number,
    chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<void> {
    const { table } = this.#parts;
    const { lineagePosition, checkpoint, firstSeq = 1 } = table.require(replicaId);
    const seqMin = checkpoint?.applied.seq ?? firstSeq - 1;
    if (applied.seq < seqMin) throw new Error(`replica ${replicaId}: a checkpoint at seq ${applied.seq} leaves a gap to the log, or is older than the last one, at ${seqMin}`);
    if (this.#checkpointing.has(replicaId)) throw new Error(`replica ${replicaId}: a checkpoint is being written`);
    this.#checkpointing.add(replicaId);
    try {
      const isCurrent = () => !this.#isClosing && table.get(replicaId)?.lineagePosition === lineagePosition;
      await this.#storeCheckpoint(replicaId, { applied, timeMs }, stopWhen(() => !isCurrent(), chunks), isCurrent);
    } finally {
      this.#checkpointing.delete(replicaId);
    }
  }

  replicasToCheckpoint(): ReplicaId[] {
    const { committer, table, logBytesMax } = this.#parts;
    let excessBytes = this.logBytes - logBytesMax;
    let lastExcessSegment = 0;
    for (const segment of committer.segments) {
      if (excessBytes <= 0) break;
      lastExcessSegment = segment.number;
      excessBytes -= segment.bytes;
    }
    return [...table.all()]
      .filter((replica) => pinnedSegment(replica) <= lastExcessSegment)
      .map((replica) => replica.identity.replicaId)
      .filter((replicaId) => !this.#checkpointing.has(replicaId));
  }

  close(options: { clean: boolean }): Promise<void> {
    this.#closed ??= this.#close(options);
    return this.#closed;
  }

  /** Writes the commits noted since the last call. */
  flushHints(): void {
    const { hints } = this.#parts;
    if (this.#isClosing) return;
    for (const [replicaId, seq] of hints) this.#add({ kind: 'COMMITTED', replicaId, seq });
    hints.clear();
  }

  async #close(options: { clean: boolean }): Promise<void> {
    const { committer, lock } = this.#parts;
    try {
      if (committer.failure === undefined) {
        this.flushHints();
        if (options.clean) this.#add({ kind: 'CLEAN' });
        this.#isClosing = true;
        await committer.flushed().catch(() => undefined); // onFatal has told
      }
    } finally {
      this.#isClosing = true;
      await committer.stop();
      await lock.release();
    }
  }

  async #storeCheckpoint(
    replicaId: ReplicaId,
    state: { applied: LogTail; timeMs: number },
    chunks: AsyncIterable<Uint8Array>,
    isCurrent: () => boolean,
  ): Promise<void> {
    const { fileSystem, owner, checkpointDirectory, committer } = this.#parts;
    const file = checkpointName(replicaId, this.#checkpointNumber);
    this.#checkpointNumber += 1;
    const meta = { clusterId: owner.clusterId, nodeId: owner.nodeId, replicaId, ...state };
    try {
      const bytes = await writeCheckpointFile(fileSystem, { directory: checkpointDirectory, name: file }, meta, chunks);
      if (!isCurrent()) {
        await fileSystem.remove(join(checkpointDirectory, file));
        throw cancelled();
      }
      this.#add({ kind: 'CHECKPOINT', replicaId, checkpoint: { file, bytes, ...state } });
    } catch (error) {
      const path = join(checkpointDirectory, file);
      if (error instanceof SyncFailure) committer.fail(error.cause, path);
      throw (error as NodeJS.ErrnoException).code === undefined ? error : toCheckpointFailure(error, path);
    }
    await committer.flushed();
  }

  #add(record: LogRecord): void {
    const { buffer, table, committer } = this.#parts;
    if (committer.failure !== undefined) throw committer.failure;
    if (this.#isClosing) throw new AtollError('SHUTTING_DOWN', 'the log is closed');
    table.apply(record, buffer.add(encodeRecord(record)));
    committer.noteBuffered();
  }
}

const cancelled = () => new AtollError('CANCELLED', 'the replica was dropped or reset, or the log closed, while its checkpoint was written');

/** `chunks` until `isOver`: a checkpoint that nobody needs any more does not write to its end. */
async function* stopWhen(isOver: () => boolean, chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    if (isOver()) throw cancelled();
    yield chunk;
  }
}

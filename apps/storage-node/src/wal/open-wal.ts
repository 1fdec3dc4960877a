import { dirname, join, resolve } from 'node:path';
import type { ReplicaId } from '@atoll/core-runtime';
import { MIB } from '@atoll/core-runtime';
import { parseCheckpointNumber, readCheckpointFile } from './checkpoint-file.ts';
import { lockDirectory } from './directory-lock.ts';
import type { DirectoryLock } from './directory-lock.ts';
import type { Owner } from './file-header.ts';
import { FileWal } from './file-wal.ts';
import { nodeFileSystem } from './file-system.ts';
import type { WalFileSystem } from './file-system.ts';
import { GroupCommitter } from './group-committer.ts';
import { LogBuffer } from './log-buffer.ts';
import { encodeRecord } from './log-record.ts';
import type { CheckpointReference } from './log-record.ts';
import { loadEntries, scanLog } from './recovery.ts';
import type { RecoveredLog } from './recovery.ts';
import type { ReplicaLog, ReplicaTable } from './replica-table.ts';
import { isTemporarySegment } from './segment.ts';
import { damaged } from './wal-error.ts';
import type { EntryBatch, OpenedWal, ReplicaIdentity, StoredCheckpoint, WalOptions } from './wal.ts';

const DEFAULTS = { segmentBytes: 64 * MIB, flushIntervalMs: 100, flushBytes: MIB, bufferBytesMax: 256 * MIB };

const REWRITE_BYTES = MIB;

interface Place {
  readonly fileSystem: WalFileSystem;
  readonly owner: Owner;
  readonly segmentDirectory: string;
  readonly checkpointDirectory: string;
}

/**
 * Opens the log of a node, creating it where there is none, and reads back what it holds. Memory needed: the
 * entries behind the checkpoints, and one window of a segment.
 * @throws WalError LOCKED, DAMAGED, UNKNOWN_FORMAT; AtollError WRONG_CLUSTER if the directory belongs to another
 * cluster or node. Nothing in the directory was changed then, but that a torn tail may be cut off.
 */
export async function openWal(options: WalOptions): Promise<OpenedWal> {
  const fileSystem = options.fileSystem ?? nodeFileSystem;
  const place: Place = {
    fileSystem,
    owner: { clusterId: options.clusterId, nodeId: options.nodeId },
    segmentDirectory: join(options.directory, 'segments'),
    checkpointDirectory: join(options.directory, 'checkpoints'),
  };
  for (const directory of [options.directory, place.segmentDirectory, place.checkpointDirectory]) await fileSystem.makeDirectory(directory);
  const lock = await lockDirectory(options.directory);
  try {
    for (const directory of [dirname(resolve(options.directory)), options.directory]) await fileSystem.syncDirectory(directory);
    return await recover(options, place, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function recover(options: WalOptions, place: Place, lock: DirectoryLock): Promise<OpenedWal> {
  const log = await scanLog(place.fileSystem, place.segmentDirectory, place.owner);
  const droppedReplicas = log.clean ? [] : dropAsyncReplicas(log.table);
  const entries = await loadEntries(place.fileSystem, place.segmentDirectory, place.owner, log);
  for (const replica of log.table.all()) await assertCheckpointPresent(place, replica.checkpoint);
  if (!log.clean) await secureLastSegment(place.fileSystem, log);

  const checkpointNames = await place.fileSystem.list(place.checkpointDirectory);
  const { wal, committer } = assemble(options, place, log, lock, 1 + Math.max(0, ...checkpointNames.map((name) => parseCheckpointNumber(name) ?? 0)));
  try {
    await committer.flushed();
    const removedFiles = await removeLeftovers(place, log.table, checkpointNames);
    return {
      wal,
      replicas: [...log.table.all()].map((replica) => toState(place, replica, entries.get(replica.identity.replicaId) ?? [], log.clean)),
      report: {
        clean: log.clean,
        tornTail: log.tornTail,
        droppedReplicas,
        removedFiles,
        segmentCount: committer.segments.length,
        logBytes: wal.logBytes,
      },
    };
  } catch (error) {
    await committer.stop();
    throw error;
  }
}

function assemble(options: WalOptions, place: Place, log: RecoveredLog, lock: DirectoryLock, nextCheckpointNumber: number) {
  const settings = { ...DEFAULTS, ...definedOnly(options) };
  const { table } = log;
  table.takeObsoleteFiles();
  const hints = new Map<ReplicaId, number>();
  const buffer = new LogBuffer({
    segmentBytes: settings.segmentBytes,
    encodeState: () => encodeRecord({ kind: 'STATE', replicas: table.summaries() }),
    first: { number: (log.segments.at(-1)?.number ?? 0) + 1, base: log.end },
  });
  const committer = new GroupCommitter({
    fileSystem: place.fileSystem,
    directory: place.segmentDirectory,
    owner: place.owner,
    buffer,
    segments: log.segments,
    group: log.group + 1,
    durablePosition: log.end,
    flushIntervalMs: settings.flushIntervalMs,
    flushBytes: settings.flushBytes,
    onTimer: () => wal.flushHints(),
    collectGarbage: () => ({
      oldestNeededSegment: Math.min(table.oldestPinnedSegment(), buffer.segment),
      files: table.takeObsoleteFiles().map((file) => join(place.checkpointDirectory, file)),
    }),
    onFatal: (error) => options.onFatal(error),
    onFlush: (phase) => options.onFlush?.(phase),
  });
  const wal = new FileWal({
    fileSystem: place.fileSystem,
    owner: place.owner,
    checkpointDirectory: place.checkpointDirectory,
    table,
    buffer,
    committer,
    lock,
    bufferBytesMax: settings.bufferBytesMax,
    logBytesMax: options.logBytesMax ?? Math.max(512 * MIB, 8 * settings.segmentBytes),
    nextCheckpointNumber,
    hints,
  });
  return { wal, committer };
}

/** R1: an ASYNC replica keeps its id only across a clean stop. */
function dropAsyncReplicas(table: ReplicaTable): ReplicaIdentity[] {
  const dropped = [...table.all()].map((replica) => replica.identity).filter((identity) => identity.durability === 'ASYNC');
  for (const { replicaId } of dropped) table.apply({ kind: 'DROP', replicaId }, { segment: 0, position: 0 });
  return dropped;
}

async function assertCheckpointPresent(place: Place, checkpoint: CheckpointReference | undefined): Promise<void> {
  if (checkpoint === undefined) return;
  const path = join(place.checkpointDirectory, checkpoint.file);
  const file = await place.fileSystem.open(path, 'read').catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? damaged({ file: path }, 'the checkpoint is missing') : error;
  });
  try {
    const bytes = await file.sizeBytes();
    if (bytes !== checkpoint.bytes) throw damaged({ file: path, offset: Math.min(bytes, checkpoint.bytes) }, `the checkpoint has ${bytes} bytes instead of ${checkpoint.bytes}`);
  } finally {
    await file.close();
  }
}

/**
 * Cuts a torn tail off and makes the rest of the last segment durable before anybody builds on it. What was read
 * may be in the page cache only: the process died before its sync, or its sync failed, after which the kernel
 * holds the pages for clean and would not write them again. So they are written again.
 */
async function secureLastSegment(fileSystem: WalFileSystem, log: RecoveredLog): Promise<void> {
  const last = log.segments.at(-1);
  if (last === undefined) return;
  const file = await fileSystem.open(last.path, 'update');
  try {
    if (log.tornTail !== undefined) await file.truncate(last.bytes);
    const window = Buffer.allocUnsafe(REWRITE_BYTES);
    for (let offset = 0; offset < last.bytes; offset += REWRITE_BYTES) {
      const bytes = await file.read(window, offset);
      await file.write([window.subarray(0, bytes)], offset);
    }
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** Files that a crash left and that the log does not name. Those of other names are not ours and stay. */
async function removeLeftovers(place: Place, table: ReplicaTable, checkpointNames: readonly string[]): Promise<string[]> {
  const needed = new Set([...table.all()].map((replica) => replica.checkpoint?.file));
  const checkpoints = checkpointNames
    .filter((name) => parseCheckpointNumber(name) !== undefined && !needed.has(name))
    .map((name) => join(place.checkpointDirectory, name));
  const segments = (await place.fileSystem.list(place.segmentDirectory)).filter(isTemporarySegment).map((name) => join(place.segmentDirectory, name));
  const leftovers = [...segments, ...checkpoints];
  for (const path of leftovers) await place.fileSystem.remove(path);
  return leftovers;
}

function toState(place: Place, replica: ReplicaLog, entries: readonly EntryBatch[], clean: boolean) {
  const { identity, generation, committedSeq } = replica;
  return { identity, generation, checkpoint: toStoredCheckpoint(place, replica), entries, committedSeq, clean };
}

function toStoredCheckpoint(place: Place, { identity, checkpoint }: ReplicaLog): StoredCheckpoint | undefined {
  if (checkpoint === undefined) return undefined;
  const { applied, timeMs, file } = checkpoint;
  const expected = { owner: place.owner, replicaId: identity.replicaId, applied };
  return { applied, timeMs, chunks: () => readCheckpointFile(place.fileSystem, join(place.checkpointDirectory, file), expected) };
}

/** Options that were given: one that is undefined means its default. */
function definedOnly(options: WalOptions): Partial<typeof DEFAULTS> {
  return Object.fromEntries(
    Object.entries(options).filter(([name, value]) => Object.hasOwn(DEFAULTS, name) && value !== undefined),
  );
}

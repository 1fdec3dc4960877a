// Reads the log back. Twice: the first pass learns what each replica ends up with, so that the second one
// keeps only the entries that still count, however much log lies before a checkpoint.
import { join } from 'node:path';
import type { ReplicaId } from '@atoll/core-runtime';
import { SEGMENT_MAGIC, readFileHeader } from './file-header.ts';
import type { Owner } from './file-header.ts';
import type { WalFileSystem } from './file-system.ts';
import { FRAME_HEADER_BYTES } from './frame.ts';
import { FrameReader, isBadFrame } from './frame-reader.ts';
import type { BadFrame } from './frame-reader.ts';
import { visitRecords } from './log-record.ts';
import type { LogRecord } from './log-record.ts';
import { ReplicaTable } from './replica-table.ts';
import type { RecordPlace, ReplicaLog } from './replica-table.ts';
import { FIRST_FRAME_OFFSET, parseSegmentName, segmentName } from './segment.ts';
import type { SegmentMeta, SegmentFile } from './segment.ts';
import { damaged } from './wal-error.ts';
import type { EntryBatch } from './wal.ts';

export interface RecoveredLog {
  readonly table: ReplicaTable;
  readonly segments: { number: number; path: string; bytes: number }[];
  /** Position of the end of the log. */
  readonly end: number;
  /** Highest group seen. */
  readonly group: number;
  readonly clean: boolean;
  /** A half-written end that is to be cut off. */
  readonly tornTail: { file: string; offset: number; bytes: number } | undefined;
}

type OpenSegment = SegmentFile & { readonly group: number; readonly bytes: number };

/** Checks every byte of the log. @throws WalError DAMAGED, UNKNOWN_FORMAT; AtollError WRONG_CLUSTER */
export async function scanLog(fileSystem: WalFileSystem, directory: string, owner: Owner): Promise<RecoveredLog> {
  const table = new ReplicaTable();
  const segments: { number: number; path: string; bytes: number }[] = [];
  const numbers = await listSegments(fileSystem, directory);
  let end: number | undefined;
  let group = 0;
  let last: LogRecord['kind'] | undefined;
  let tornTail: RecoveredLog['tornTail'];
  for (const number of numbers) {
    const isLastSegment = number === numbers.at(-1);
    const segment = await openSegment(fileSystem, directory, number, owner);
    try {
      if (end !== undefined && segment.base !== end)
        throw damaged({ file: segment.path, offset: 0 }, `the segment begins at position ${segment.base}, but the one before ends at ${end}`);
      const walk = await walkSegment(segment, (record, place) => {
        if (last === undefined && record.kind !== 'STATE') throw new Error('the first segment does not begin with the state of the replicas');
        table.apply(record, place);
        last = record.kind;
      });
      if (walk.bad !== undefined && !(isLastSegment && (await isTornTail(walk.reader, walk.bad, walk.group))))
        throw damaged({ file: segment.path, offset: walk.bad.offset }, 'the frame is not what was written');
      const endOffset = walk.bad?.offset ?? walk.reader.offset;
      if (walk.bad !== undefined) tornTail = { file: segment.path, offset: endOffset, bytes: segment.bytes - endOffset };
      group = Math.max(group, segment.group, walk.group);
      end = segment.base + endOffset;
      segments.push({ number, path: segment.path, bytes: endOffset });
    } finally {
      await segment.file.close();
    }
    if (last === undefined && number !== 1) throw damaged({ file: segment.path }, 'the first segment holds no state of the replicas');
  }
  const clean = tornTail === undefined && (last === undefined || last === 'CLEAN');
  return { table, segments, end: end ?? 0, group, clean, tornTail };
}

/**
 * The batches that count, by replica. The log's table is as `scanLog` left it, but for replicas dropped since.
 * @throws WalError DAMAGED where entries are missing
 */
export async function loadEntries(
  fileSystem: WalFileSystem,
  directory: string,
  owner: Owner,
  log: RecoveredLog,
): Promise<ReadonlyMap<ReplicaId, EntryBatch[]>> {
  const entries = new Map<ReplicaId, EntryBatch[]>();
  const oldest = log.table.oldestPinnedSegment();
  for (const { number } of log.segments.filter((segment) => segment.number >= oldest)) {
    const segment = await openSegment(fileSystem, directory, number, owner);
    try {
      await walkSegment(segment, (record, place) => collect(entries, log.table, record, place));
    } finally {
      await segment.file.close();
    }
  }
  for (const replica of log.table.all()) {
    const { replicaId } = replica.identity;
    // A truncation may have cut a batch back behind the checkpoint.
    const batches = (entries.get(replicaId) ?? []).filter((batch) => batch.lastSeq > (replica.checkpoint?.applied.seq ?? 0));
    assertComplete(replica, batches, directory);
    entries.set(replicaId, batches);
  }
  return entries;
}

function collect(entries: Map<ReplicaId, EntryBatch[]>, table: ReplicaTable, record: LogRecord, place: RecordPlace): void {
  if (record.kind !== 'ENTRIES' && record.kind !== 'TRUNCATE') return;
  const replica = table.get(record.replicaId);
  if (replica === undefined || place.position < replica.lineagePosition) return;
  const batches = entries.get(record.replicaId) ?? [];
  entries.set(record.replicaId, batches);
  if (record.kind === 'ENTRIES') {
    const { firstSeq, lastSeq, lastEpoch } = record;
    if (lastSeq > (replica.checkpoint?.applied.seq ?? 0)) batches.push({ firstSeq, lastSeq, lastEpoch, bytes: Buffer.from(record.bytes) });
    return;
  }
  for (let batch = batches.at(-1); batch !== undefined && batch.lastSeq > record.toSeq; batch = batches.at(-1)) {
    batches.pop();
    if (batch.firstSeq <= record.toSeq) batches.push({ ...batch, lastSeq: record.toSeq });
  }
}

/** The entries that count are all there: a segment that was taken away would show here. */
function assertComplete(replica: ReplicaLog, batches: readonly EntryBatch[], directory: string): void {
  const appliedSeq = replica.checkpoint?.applied.seq ?? 0;
  let next = Math.max(appliedSeq + 1, replica.firstSeq ?? 0);
  for (const batch of batches) {
    if (batch.firstSeq > next) break;
    next = batch.lastSeq + 1;
  }
  if (replica.lastSeq !== undefined && next <= replica.lastSeq)
    throw damaged({ file: directory }, `the log of replica ${replica.identity.replicaId} lacks seq ${next}, but goes on to ${replica.lastSeq}`);
}

/** @throws WalError DAMAGED where one is missing in the middle. */
async function listSegments(fileSystem: WalFileSystem, directory: string): Promise<number[]> {
  const numbers = (await fileSystem.list(directory)).map(parseSegmentName).filter((number) => number !== undefined);
  numbers.sort((a, b) => a - b);
  numbers.forEach((number, index) => {
    const expected = (numbers[0] ?? 0) + index;
    if (number !== expected) throw damaged({ file: join(directory, segmentName(expected)) }, 'the segment is missing');
  });
  return numbers;
}

async function openSegment(fileSystem: WalFileSystem, directory: string, number: number, owner: Owner): Promise<OpenSegment> {
  const path = join(directory, segmentName(number));
  const file = await fileSystem.open(path, 'read');
  try {
    const { salt, meta } = await readFileHeader<SegmentMeta>(file, path, { magic: SEGMENT_MAGIC, owner });
    if (meta.number !== number) throw damaged({ file: path, offset: 0 }, `the file holds segment ${meta.number}`);
    return { number, base: meta.base, group: meta.group, salt, path, file, bytes: await file.sizeBytes() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

interface Walk {
  readonly reader: FrameReader;
  readonly bad: BadFrame | undefined;
  /** Group of the frame at which the walk ended, be it bad or yet to be written. */
  readonly group: number;
}

async function walkSegment(segment: OpenSegment, visit: (record: LogRecord, place: RecordPlace) => void): Promise<Walk> {
  const reader = new FrameReader(segment.file, { salt: segment.salt, base: segment.base, offset: FIRST_FRAME_OFFSET });
  let { group } = segment;
  for (;;) {
    const frame = await reader.next();
    if (frame === undefined) return { reader, bad: undefined, group };
    if (isBadFrame(frame)) return { reader, bad: frame, group };
    try {
      const payloadPosition = segment.base + reader.offset - frame.payload.length;
      visitRecords(frame.payload, (record, offset) => visit(record, { segment: segment.number, position: payloadPosition + offset }));
    } catch (error) {
      throw damaged({ file: segment.path, offset: frame.offset }, error instanceof Error ? error.message : String(error));
    }
    group = frame.header.isLast ? frame.header.group + 1 : frame.header.group;
  }
}

/**
 * Whether a bad frame of the last segment is what a crash leaves of a group that was never synced: no frame of
 * a later group stands behind it (see frame.ts), and it is cut short or has a sector that was never written.
 * Anything else is damage to data that somebody was told is durable.
 */
async function isTornTail(reader: FrameReader, bad: BadFrame, group: number): Promise<boolean> {
  if (bad.isShort) return true;
  if (await reader.hasLaterGroup(bad.offset, group)) return false;
  const checkedBytes = FRAME_HEADER_BYTES + (bad.header?.payloadBytes ?? 0);
  return reader.hasUnwrittenSector(bad.offset, bad.offset + checkedBytes);
}


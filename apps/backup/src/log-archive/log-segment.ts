// Log of many partitions as one archive: runs lie side by side in shared chunks, of which each range names its slice, so that a segment
// of some seconds is one or two objects and not one for each partition.
import { CHUNK_PLAIN_BYTES, encodeChunk, type ArchiveCodec, type ArchivedKeyspace, type ArchivedRange, type Barrier, type ChunkRef, type ChunkSettings, type EncodedChunk, type Manifest } from '@atoll/core-archive';
import { tokenRangeOf } from '@atoll/core-placement';
import { summarizeRun } from '@atoll/core-replication';
import { toPartitionId } from '@atoll/core-runtime';
import { VERSION } from '@atoll/platform-lifecycle';

/** Of one partition, in the order of its log. */
export interface SegmentRange extends Pick<ArchivedRange, 'generation' | 'upTo' | 'firstMs' | 'lastMs' | 'barriers' | 'partition'> {
  readonly keyspace: Omit<ArchivedKeyspace, 'ranges'>;
  readonly after: NonNullable<ArchivedRange['after']>;
  /** Whole entries. */
  readonly runs: AsyncIterable<Buffer> | Iterable<Buffer>;
}

export interface SegmentOptions {
  readonly codec: ArchiveCodec;
  readonly chunks: ChunkSettings;
  readonly put: (chunk: EncodedChunk) => Promise<unknown>;
  readonly signal: AbortSignal;
}

export interface SegmentName extends Pick<Manifest, 'id' | 'clusterId' | 'session' | 'startedAtMs' | 'finishedAtMs'> {
  readonly barriers: readonly Barrier[];
}

/** Puts the chunks, and answers the manifest that names them. */
export async function writeSegment(ranges: readonly SegmentRange[], name: SegmentName, { codec, chunks, put, signal }: SegmentOptions): Promise<Manifest> {
  const refs = new Map<SegmentRange, ChunkRef[]>(ranges.map((range) => [range, []]));
  let pieces: { readonly range: SegmentRange; readonly bytes: Buffer; readonly offset: number }[] = [];
  let size = 0;
  const flush = async (): Promise<void> => {
    if (size === 0) return;
    signal.throwIfAborted();
    const encoded = await encodeChunk(codec, 'LOG', Buffer.concat(pieces.map(({ bytes }) => bytes)), chunks);
    await put(encoded);
    const isShared = pieces.length > 1;
    for (const { range, bytes, offset } of pieces) {
      const { entries, firstSeq, lastSeq, firstMs, lastMs } = summarizeRun(bytes);
      const about = { entries, deletes: 0, log: { firstSeq, lastSeq, firstMs, lastMs } };
      refs.get(range)!.push({ id: encoded.id, kind: 'LOG', storedBytes: encoded.bytes.length, plainBytes: bytes.length, ...(isShared && { slice: { offset } }), ...about });
    }
    pieces = [];
    size = 0;
  };
  for (const range of ranges) {
    let runs: Buffer[] = [];
    let bytes = 0;
    const add = (): void => {
      if (bytes > 0) pieces.push({ range, bytes: Buffer.concat(runs), offset: size - bytes });
      runs = [];
      bytes = 0;
    };
    for await (const run of range.runs) {
      runs.push(run);
      bytes += run.length;
      size += run.length;
      if (size < CHUNK_PLAIN_BYTES) continue;
      add();
      await flush();
    }
    add();
  }
  await flush();
  const keyspaces = new Map<string, { readonly keyspace: SegmentRange['keyspace']; readonly ranges: ArchivedRange[] }>();
  for (const range of ranges) {
    const { keyspace, partition, generation, after, upTo, firstMs, lastMs, barriers } = range;
    const own = refs.get(range)!;
    const archived: ArchivedRange = { partition, tokens: tokenRangeOf(toPartitionId(partition), keyspace.partitionCount), generation, after, upTo, firstMs, lastMs, contentBytes: own.reduce((sum, { plainBytes }) => sum + plainBytes, 0), digest: undefined, versions: undefined, barriers, chunks: own };
    const of = keyspaces.get(keyspace.id) ?? { keyspace, ranges: [] };
    keyspaces.set(keyspace.id, of);
    of.ranges.push(archived);
  }
  const archived = [...keyspaces.values()].map(({ keyspace: { name: of, id, partitionCount, settings }, ranges: own }): ArchivedKeyspace => ({ name: of, id, partitionCount, settings, ranges: own.sort((a, b) => a.partition - b.partition) }));
  return { ...name, kind: 'LOG', parent: undefined, writtenBy: VERSION, keyId: chunks.key?.id, keyspaces: archived };
}

import { NO_CONTENT, type ChunkRef, type EncodedChunk, type Manifest } from '@atoll/core-archive';
import { tokenRangeOf } from '@atoll/core-placement';
import { toPartitionId } from '@atoll/core-runtime';

export function sampleChunkRef({ id, bytes }: EncodedChunk, changes: Partial<ChunkRef> = {}): ChunkRef {
  const hashes = { first: { high: 1, low: 2 }, last: { high: 3, low: 4 } };
  return { id, kind: 'ROWS', storedBytes: bytes.length, plainBytes: 100, entries: 3, deletes: 0, hashes, ...changes };
}

/** A FULL of one keyspace with one partition that has these chunks. */
export function sampleManifest(id: string, session: string, chunks: readonly ChunkRef[], changes: Partial<Manifest> = {}): Manifest {
  const parent = changes.parent;
  return {
    id,
    kind: parent === undefined ? 'FULL' : 'INCREMENTAL',
    clusterId: 'c1',
    parent,
    session,
    writtenBy: '0.1.0',
    startedAtMs: 1_790_000_000_000,
    finishedAtMs: 1_790_000_001_000,
    barriers: [{ id: 'cut-1', atMs: 1_790_000_000_500 }],
    keyId: undefined,
    keyspaces: [
      {
        name: 'default',
        id: 'k1',
        partitionCount: 1,
        settings: { replicationFactor: 2 },
        ranges: [
          {
            partition: 0,
            tokens: tokenRangeOf(toPartitionId(0), 1),
            generation: { counter: 1, id: 'g1' },
            after: parent === undefined ? undefined : { epoch: 1, seq: 10 },
            upTo: { epoch: 1, seq: 20 },
            firstMs: 1_790_000_000_400,
            lastMs: 1_790_000_000_500,
            contentBytes: 64,
            digest: NO_CONTENT,
            barriers: [],
            chunks,
          },
        ],
      },
    ],
    ...changes,
  };
}

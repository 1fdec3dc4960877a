import type { TokenRange } from '@atoll/core-placement';
import type { Hash64 } from '@atoll/core-runtime';
import type { ChunkKind } from './chunk.ts';
import type { ContentDigest } from './content-digest.ts';

/**
 * - FULL: everything that the partitions held at the cut
 * - INCREMENTAL: what changed since the cut of the parent, the newest version of each key, deletes included
 * - LOG: the logs of the partitions from one position to another, as they were written: for points in time (R40)
 */
export type ArchiveKind = 'FULL' | 'INCREMENTAL' | 'LOG';

/** A place in a partition's log. */
export interface ArchivePosition {
  /** 0 only before the first entry. */
  readonly epoch: number;
  readonly seq: number;
}

export interface ChunkRef {
  /** SHA-256 of the stored bytes, 64 hex digits. */
  readonly id: string;
  readonly kind: ChunkKind;
  readonly storedBytes: number;
  readonly plainBytes: number;
  /** Rows that are entries, or entries of the log. */
  readonly entries: number;
  /** Rows that tell of a delete. */
  readonly deletes: number;
  /** Of the content only this is meant: the chunk holds log of other partitions as well. `plainBytes` is its length. */
  readonly slice?: { readonly offset: number } | undefined;
  /** ROWS: key hashes of the first and of the last row. */
  readonly hashes?: { readonly first: Hash64; readonly last: Hash64 } | undefined;
  /** LOG: seqs and times of the first and of the last entry. */
  readonly log?: { readonly firstSeq: number; readonly lastSeq: number; readonly firstMs: number; readonly lastMs: number } | undefined;
}

/** A moment at which all partitions were held at once (R39). */
export interface Barrier {
  readonly id: string;
  /** Of the coordinator's wall clock, in ms since the epoch. */
  readonly atMs: number;
}

/** What the archive has of one partition. */
export interface ArchivedRange {
  readonly partition: number;
  readonly tokens: TokenRange;
  /** Of the partition's data (R3): increments and logs go on within one. */
  readonly generation: { readonly counter: number; readonly id: string };
  /** What is in here lies behind it; undefined: it has all that the partition held, as in a FULL, and what came before is of no use. */
  readonly after: ArchivePosition | undefined;
  /** The cut, or the end of the log in here. */
  readonly upTo: ArchivePosition;
  /**
   * Partition's time of the first and last entry of the log in here, or of the cut (R23). Of a LOG `lastMs` may be later: nothing else had
   * been written until then. One without chunks says that alone.
   */
  readonly firstMs: number;
  readonly lastMs: number;
  /** Keys and values of all chunks. */
  readonly contentBytes: number;
  /**
   * Of all that the partition held at `upTo`, expired entries included; undefined in a LOG, and where the writer could not know it:
   * when something was written while rows were read.
   */
  readonly digest: ContentDigest | undefined;
  /**
   * As `digest`, over key hash, version and expiry, as replicas keep it (R34): with it count and versions of all entries can be
   * checked. Undefined in a LOG, and where no replica kept it.
   */
  readonly versions?: ContentDigest | undefined;
  /** LOG: where in it the barriers of `Manifest.barriers` are. */
  readonly barriers: readonly { readonly id: string; readonly seq: number }[];
  /**
   * In the order in which they are applied. Of what is whole: rows in key-hash order, then log, in which nothing takes the place of
   * a newer version. Of what lies behind `after`: windows of the log, each as its expiry records, then rows.
   */
  readonly chunks: readonly ChunkRef[];
}

export interface ArchivedKeyspace {
  readonly name: string;
  /** Another one each time the name is created again. */
  readonly id: string;
  readonly partitionCount: number;
  /** The keyspace's record as it was at the cut, for a restore that makes it again. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** In the order of their tokens, without overlap. */
  readonly ranges: readonly ArchivedRange[];
}

export interface Manifest {
  /** 1 to 128 characters of a-z, 0-9 and -; unique in the repository. */
  readonly id: string;
  readonly kind: ArchiveKind;
  readonly clusterId: string;
  /** INCREMENTAL: the cut that it goes on from. A LOG goes on from any cut whose positions it reaches back to. */
  readonly parent: string | undefined;
  /** Session of the repository that wrote it: one that was revoked makes it void. */
  readonly session: string;
  /** Version of Atoll that wrote it. */
  readonly writtenBy: string;
  /** Wall clock, ms since the epoch. */
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  /** Consistent points in time order: the cut of a FULL or INCREMENTAL, its only one; those in the log of a LOG. */
  readonly barriers: readonly Barrier[];
  /** Key of every chunk that is encrypted, and of the manifest's seal; undefined: neither. */
  readonly keyId: string | undefined;
  readonly keyspaces: readonly ArchivedKeyspace[];
}

export interface ManifestTotals {
  readonly ranges: number;
  readonly chunks: number;
  readonly entries: number;
  readonly deletes: number;
  readonly contentBytes: number;
  readonly plainBytes: number;
  readonly storedBytes: number;
}

/** What a chunk takes counts once, however often it is named. */
export function totalsOf({ keyspaces }: Pick<Manifest, 'keyspaces'>): ManifestTotals {
  const ranges = keyspaces.flatMap((keyspace) => keyspace.ranges);
  const seen = new Set<string>();
  const totals = { ranges: ranges.length, chunks: 0, entries: 0, deletes: 0, contentBytes: 0, plainBytes: 0, storedBytes: 0 };
  for (const { contentBytes, chunks } of ranges) {
    totals.contentBytes += contentBytes;
    for (const chunk of chunks) {
      if (!seen.has(chunk.id)) {
        seen.add(chunk.id);
        totals.chunks += 1;
        totals.storedBytes += chunk.storedBytes;
      }
      totals.entries += chunk.entries;
      totals.deletes += chunk.deletes;
      totals.plainBytes += chunk.plainBytes;
    }
  }
  return totals;
}

/** Ids and lengths of all chunks that it needs, each once. */
export function chunksOf({ keyspaces }: Pick<Manifest, 'keyspaces'>): Map<string, number> {
  const chunks = new Map<string, number>();
  for (const { ranges } of keyspaces) for (const range of ranges) for (const { id, storedBytes } of range.chunks) chunks.set(id, storedBytes);
  return chunks;
}

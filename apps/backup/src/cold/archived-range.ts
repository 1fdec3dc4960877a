import type { ArchivePlace } from '@atoll/contracts/atoll/v1/archive';
import type { ArchivePosition, ContentDigest } from '@atoll/core-archive';
import type { KeyspaceSpec } from '@atoll/core-membership';
import type { RangeWriter } from './range-writer.ts';

/** The marker of a cut in one partition. */
export interface Marker {
  readonly position: ArchivePosition;
  readonly generation: { readonly counter: number; readonly id: string };
  readonly stampMs: number;
}

/** A partition of which something is asked. */
export interface RangeName {
  readonly keyspace: KeyspaceSpec;
  readonly partition: number;
}

/** One partition on its way into an archive. */
export interface RangeJob extends RangeName {
  readonly writer: RangeWriter;
  /** INCREMENTAL: where the parent ended; undefined where the range is read whole. */
  since: { readonly position: ArchivePosition; readonly generation: Marker['generation'] } | undefined;
  /** Bytes that are left to be read, about; undefined before anything was read. */
  bytesLeft: number | undefined;
  /** Monotonic time at which its log was last read to the end. */
  readMs: number;
  /** Where the cut is, once there is one. */
  marker: Marker | undefined;
  /** What a replica held there. */
  versions: ContentDigest | undefined;
  /** How often it had to begin anew. */
  restarts: number;
}

/** Whether all rows are read, so that only log is left. */
export const hasRows = (place: ArchivePlace | undefined): boolean => place !== undefined && place.nextHigh === undefined;

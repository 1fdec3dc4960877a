import type { ArchivePlace } from '@atoll/contracts/atoll/v1/archive';
import type { ArchivePosition } from '@atoll/core-archive';
import type { KeyspaceSpec } from '@atoll/core-membership';
import type { Marker, RangeName } from '../cold/archived-range.ts';

/** Up to where the log of a partition is in the repository. */
export interface LogPlace {
  readonly generation: Marker['generation'];
  readonly position: ArchivePosition;
  /** The partition's time there. */
  readonly timeMs: number;
  /** From here on there is log without a gap. */
  readonly since: ArchivePosition;
}

/** A partition whose log is archived. */
export class LogRange implements RangeName {
  readonly keyspace: KeyspaceSpec;
  readonly partition: number;
  /** Undefined: it is not known where to begin. */
  place: LogPlace | undefined;

  constructor(keyspace: KeyspaceSpec, partition: number, place: LogPlace | undefined) {
    this.keyspace = keyspace;
    this.partition = partition;
    this.place = place;
  }

  /** As nodes are asked: behind the place, without rows. */
  get writer(): { readonly place: ArchivePlace | undefined } {
    return { place: this.place && { generation: this.place.generation, position: this.place.position, nextHigh: undefined, nextLow: undefined } };
  }
}

/** What was read of one partition, not in the repository yet. */
export interface LogRun {
  readonly range: LogRange;
  /** Where it begins. */
  readonly from: LogPlace;
  readonly runs: readonly Buffer[];
  readonly bytes: number;
  readonly upTo: ArchivePosition;
  readonly timeMs: number;
  /** Up to the marker of the round or, without one, of what was committed; else there was too much for one round. */
  readonly isToTheEnd: boolean;
  /** Where in it the barrier of the round is. */
  readonly barrierSeq: number | undefined;
}

/** Whether nothing was left of any partition of which log is read: only then does the recovery point move. */
export const areReadToTheEnd = (ranges: readonly LogRange[], runs: readonly LogRun[]): boolean =>
  runs.length === ranges.filter(({ place }) => place !== undefined).length && runs.every(({ isToTheEnd }) => isToTheEnd);

export const keyOf = (keyspaceId: string, partition: number): string => `${keyspaceId}/${partition}`;

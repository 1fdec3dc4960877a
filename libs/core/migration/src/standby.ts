// A standby: a copy of another cluster's keyspace that is kept, and promoted when it is needed. Where the primary answers that is
// a cut-over (cut-over.ts). Where it does not, nobody knows what it had: what was heard of it is written down.
import type { CopyExtent, CopyJob } from './copy-job.ts';

/** What a partition of a standby has of a partition of its primary, as the leader of the former says. */
export interface StandbyPair {
  /** Partition of the standby, and of the primary. */
  readonly target: number;
  readonly source: number;
  /** All keys are there. */
  readonly isFollowing: boolean;
  /** It holds everything up to there in the primary's log; undefined: nothing. */
  readonly held: LogMoment | undefined;
  /** The end of that log when it was last heard of; undefined: not since this node leads. */
  readonly head: LogMoment | undefined;
  /** How old the state is that is held, in ms; undefined: not known. */
  readonly ageMs: number | undefined;
}

/** A place in a log, and the time of its partition there, in ms since the epoch (R23). */
export interface LogMoment {
  readonly seq: number;
  readonly stampMs: number;
}

/** A promotion without the primary. */
export interface Promotion {
  readonly atMs: number;
  /** Entries that were known to be in the primary's logs, and are not here. */
  readonly missingKnown: number;
  /** Of the oldest state that is held, in ms. */
  readonly ageMs: number;
  /** Partitions of which nobody knows how far the primary was. */
  readonly unknown: number;
  /** Partitions that lacked keys. */
  readonly incomplete: number;
  /** The former primary was told, and takes no writes any more. */
  readonly isFenced: boolean;
  /** Of the first PLACES_KEPT pairs. */
  readonly places: readonly PromotedPlace[];
}

export interface PromotedPlace extends Pick<StandbyPair, 'target' | 'source'> {
  /** 0 where nothing is held. */
  readonly heldSeq: number;
  readonly heldMs: number;
  readonly knownSeq?: number | undefined;
  readonly knownMs?: number | undefined;
}

/** Those of more pairs would not fit into a value in etcd. */
export const PLACES_KEPT = 40;

export const toPromotedPlace = ({ target, source, held, head }: StandbyPair): PromotedPlace => ({
  target,
  source,
  heldSeq: held?.seq ?? 0,
  heldMs: Math.round(held?.stampMs ?? 0),
  ...(head !== undefined && { knownSeq: head.seq, knownMs: Math.round(head.stampMs) }),
});

/** Why a standby is not promoted without its primary; undefined when it can be. */
export function refusalOfPromotion(job: CopyJob, pairs: readonly StandbyPair[], acceptsIncomplete: boolean): string | undefined {
  if (job.state !== 'RUNNING' && job.state !== 'PAUSED' && job.state !== 'CUTTING_OVER') return `${job.target} is ${job.state}`;
  const lacking = new Set(pairs.filter(({ isFollowing }) => !isFollowing).map(({ target }) => target)).size;
  return lacking > 0 && !acceptsIncomplete ? `${lacking} of ${job.partitionCount} partitions of ${job.target} lack keys, or do not say; it can be promoted without them (accept_incomplete)` : undefined;
}

/** The job once its standby was promoted without the primary. */
export function promoteAlone(job: CopyJob, pairs: readonly StandbyPair[], { atMs, isFenced, extent }: { readonly atMs: number; readonly isFenced: boolean; readonly extent?: Pick<CopyExtent, 'bytes' | 'entries'> }): CopyJob {
  const targets = (of: (pair: StandbyPair) => boolean): number => new Set(pairs.filter(of).map(({ target }) => target)).size;
  const promotion: Promotion = {
    atMs,
    missingKnown: pairs.reduce((total, { held, head }) => total + Math.max(0, (head?.seq ?? 0) - (held?.seq ?? 0)), 0),
    ageMs: Math.round(Math.max(0, ...pairs.map(({ held, ageMs }) => ageMs ?? (held === undefined ? 0 : atMs - held.stampMs)))),
    unknown: targets(({ head }) => head === undefined),
    incomplete: targets(({ isFollowing }) => !isFollowing),
    isFenced,
    places: pairs.slice(0, PLACES_KEPT).map(toPromotedPlace),
  };
  return { ...job, ...extent, state: 'SUCCEEDED', endedMs: atMs, problem: '', cutOver: undefined, promotion, sourceRemains: false };
}

/** The latest time of the primary that is known of: what has expired by it stays expired (I7, R23). In ms since the epoch. */
export const timeOfPrimary = (pairs: readonly StandbyPair[]): number => Math.max(0, ...pairs.flatMap(({ held, head }) => [held?.stampMs ?? 0, head?.stampMs ?? 0]));

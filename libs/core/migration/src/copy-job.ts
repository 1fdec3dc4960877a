// A copy of a keyspace as a job (R37). Nothing of how far it is stands here: that is in the logs of the copy's partitions. What
// has to be done follows from the job and from the keyspace that it made, so any coordinator goes on with it.
import type { SourceCluster } from '@atoll/core-membership';
import type { TokenRange } from '@atoll/core-placement';
import type { JobCommand } from './migration-job.ts';
import type { Promotion } from './standby.ts';

/**
 * RUNNING      the target is filled, and follows
 * PAUSED       nothing is taken from the source
 * CUTTING_OVER records of the source may be frozen, for `cutOver.id`
 * SUCCEEDED    the target has the place of the source; written together with that, in one transaction
 * CANCELLING   the target is removed, with all that it has
 * CANCELLED    it is gone
 *
 *   RUNNING <-> PAUSED      RUNNING <-> CUTTING_OVER -> SUCCEEDED      RUNNING, PAUSED, CUTTING_OVER -> CANCELLING -> CANCELLED
 *
 * Not from CUTTING_OVER with `cutOver.hold`: that ends by the word of the source's cluster.
 *
 * A record of the source that is frozen for anything but the cut-over of a job that is CUTTING_OVER is thawed, whoever froze it.
 */
export type CopyJobState = 'RUNNING' | 'PAUSED' | 'CUTTING_OVER' | 'SUCCEEDED' | 'CANCELLING' | 'CANCELLED';

/** A cut-over, from when it was asked for. */
export interface CutOverJob {
  /** Random: what records of the source say that are frozen for it. */
  readonly id: string;
  /** Longest time for which writes may be held back, in ms. */
  readonly maxPauseMs: number;
  /**
   * Of a source in another cluster: the hold there that may have been ended by moving the keyspace. Written before that is asked
   * for; from then on the other cluster alone knows how the cut-over ends, and nothing is given up before it has said so.
   */
  readonly hold?: string | undefined;
  /** Since when writes were held back, with `hold`; wall clock in ms, for people. */
  readonly heldSinceMs?: number | undefined;
}

export interface CopyJob {
  /** 1 to 64 characters of [A-Za-z0-9_-]. */
  readonly id: string;
  readonly state: CopyJobState;
  /** Keyspaces by name and id; the target was made by this job. */
  readonly source: string;
  readonly sourceId: string;
  readonly target: string;
  readonly targetId: string;
  /** That has the source; undefined: this one. */
  readonly cluster?: SourceCluster | undefined;
  /** A keyspace, by name and id, whose name the target takes at the cut-over, and which is deleted then; undefined: none, but for the source within one cluster. */
  readonly takesPlaceOf?: { readonly name: string; readonly id: string } | undefined;
  /** Partitions of the target. */
  readonly partitionCount: number;
  /** Only keys whose tokens lie in it are copied; undefined: all. */
  readonly tokens?: TokenRange | undefined;
  /** Bound on what is copied by sub-ranges, over all nodes; 0: those of the nodes. */
  readonly bytesPerSecond: number;
  /** What the spans of this copy hang under; empty where it is not traced. */
  readonly traceparent: string;
  /** Wall clock in ms: for people, no decision rests on it. `endedMs` is 0 until the end. */
  readonly createdMs: number;
  readonly endedMs: number;
  /** Why it was cancelled, or why the last cut-over was given up; empty otherwise. */
  readonly problem: string;
  /** Present while CUTTING_OVER and behind it. */
  readonly cutOver?: CutOverJob | undefined;
  /** Once it SUCCEEDED: for how long writes were held back, in ms, by partition of the source; of the first 1024. */
  readonly pausesMs?: readonly number[] | undefined;
  readonly pauseMsMax?: number | undefined;
  /** Once it SUCCEEDED: entries of the last comparison before that, all equal. */
  readonly comparedEntries?: number | undefined;
  /** And what the copy held then, overhead included. */
  readonly bytes?: number | undefined;
  readonly entries?: number | undefined;
  /** It is kept as a standby, until it is promoted. */
  readonly isStandby?: boolean | undefined;
  /** It SUCCEEDED without its primary. */
  readonly promotion?: Promotion | undefined;
  /** It SUCCEEDED, and the keyspace whose place it took is still there, to be deleted. That of a standby is kept: it may become the standby. */
  readonly sourceRemains?: boolean | undefined;
}

export const hasCopyEnded = ({ state }: CopyJob): boolean => state === 'CANCELLED' || state === 'SUCCEEDED';

/** The job behind the command; the same one where the command changes nothing; why not where it cannot be carried out. */
export function commandCopy(job: CopyJob, asked: JobCommand): CopyJob | { readonly refusal: string } {
  const { id, state } = job;
  if (asked.kind === 'cancel') {
    if (state === 'SUCCEEDED') return { refusal: `migration ${id} has ended (${state}): the copy has the place of its source, and there is no way back` };
    if (job.cutOver?.hold !== undefined) return { refusal: `migration ${id} is being cut over, and how that ends is decided in cluster ${job.cluster?.id ?? ''}; ask again when it is known` };
    return state === 'CANCELLING' || state === 'CANCELLED' ? job : { ...job, state: 'CANCELLING', cutOver: undefined, problem: 'cancelled by an operator' };
  }
  if (state !== 'RUNNING' && state !== 'PAUSED') {
    const what = asked.kind === 'pause' ? 'paused' : 'resumed';
    return { refusal: hasCopyEnded(job) ? `migration ${id} has ended (${state}) and cannot be ${what}` : `migration ${id} is ${state} and cannot be ${what} now` };
  }
  const next: CopyJob = asked.kind === 'pause' ? { ...job, state: 'PAUSED' } : { ...job, state: 'RUNNING', bytesPerSecond: asked.bytesPerSecond ?? job.bytesPerSecond };
  return next.state === state && next.bytesPerSecond === job.bytesPerSecond ? job : next;
}

const RANGE_STAYS = (id: string): string =>
  `migration ${id} copies a range of tokens, and the name of a keyspace cannot mean the copy for some of its keys and the source for the others: the copy can be read under its own name until it is cancelled; to move keys for good, copy the whole keyspace and cut that over`;

/** The job with its cut-over begun; the same one where it is under way or done; why not where it cannot be. */
export function beginCutOver(job: CopyJob, cutOver: CutOverJob): CopyJob | { readonly refusal: string } {
  const { id, state } = job;
  if (state === 'CUTTING_OVER' || state === 'SUCCEEDED') return job;
  if (job.tokens !== undefined) return { refusal: RANGE_STAYS(id) };
  if (state !== 'RUNNING') return { refusal: `migration ${id} is ${state} and cannot be cut over` };
  return { ...job, state: 'CUTTING_OVER', cutOver, problem: '' };
}

/** Back to following its source; the same one when it is not that cut-over that is under way. */
export function abortCutOver(job: CopyJob, cutOver: string, reason: string): CopyJob {
  if (job.state !== 'CUTTING_OVER' || job.cutOver?.id !== cutOver) return job;
  const { comparedEntries: _compared, bytes: _bytes, entries: _entries, ...rest } = job;
  return { ...rest, state: 'RUNNING', cutOver: undefined, problem: `the cut-over was given up: ${reason}` };
}

/** The copy has all that its source had, and the other cluster is about to be asked to move the keyspace; the same job when it is another cut-over that is under way. */
export function beginMove(job: CopyJob, { cutOver, hold, heldSinceMs, extent }: { readonly cutOver: string; readonly hold: string; readonly heldSinceMs: number; readonly extent: CopyExtent }): CopyJob {
  if (job.state !== 'CUTTING_OVER' || job.cutOver?.id !== cutOver) return job;
  return { ...job, ...extent, cutOver: { ...job.cutOver, hold, heldSinceMs } };
}

/** The keyspace of this cluster that goes with a cut-over; undefined: none. */
export function retiredBy({ cluster, source, sourceId, takesPlaceOf }: CopyJob): { readonly name: string; readonly id: string } | undefined {
  return cluster === undefined ? { name: source, id: sourceId } : takesPlaceOf;
}

/** Pauses of more partitions would not fit into a value in etcd. */
const PAUSES_KEPT = 1024;

/** What was known of a copy when its cut-over began. */
export interface CopyExtent {
  readonly comparedEntries: number;
  readonly bytes: number;
  readonly entries: number;
}

/** The copy has the place of its source. */
export function completeCutOver(job: CopyJob, { pausesMs, endedMs, extent }: { readonly pausesMs: readonly number[]; readonly endedMs: number; readonly extent?: CopyExtent }): CopyJob {
  const rounded = pausesMs.map((ms) => Math.round(ms));
  return { ...job, state: 'SUCCEEDED', endedMs, problem: '', pausesMs: rounded.slice(0, PAUSES_KEPT), pauseMsMax: Math.max(0, ...rounded), ...extent, sourceRemains: job.isStandby !== true && retiredBy(job) !== undefined };
}

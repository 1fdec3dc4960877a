// A copy of a keyspace as a job (R37). Nothing of how far it is stands here: that is in the logs of the copy's partitions. What
// has to be done follows from the job and from the keyspace that it made, so any coordinator goes on with it.
import type { SourceCluster } from '@atoll/core-membership';
import type { TokenRange } from '@atoll/core-placement';
import type { JobCommand } from './migration-job.ts';

/**
 * RUNNING    the target is filled, and follows
 * PAUSED     nothing is taken from the source
 * CANCELLING the target is removed, with all that it has
 * CANCELLED  it is gone
 */
export type CopyJobState = 'RUNNING' | 'PAUSED' | 'CANCELLING' | 'CANCELLED';

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
  /** Why it was cancelled; empty otherwise. */
  readonly problem: string;
}

export const hasCopyEnded = ({ state }: CopyJob): boolean => state === 'CANCELLED';

/** The job behind the command; the same one where the command changes nothing; why not where it cannot be carried out. */
export function commandCopy(job: CopyJob, asked: JobCommand): CopyJob | { readonly refusal: string } {
  const { id, state } = job;
  if (asked.kind === 'cancel') {
    return state === 'CANCELLING' || state === 'CANCELLED' ? job : { ...job, state: 'CANCELLING', problem: 'cancelled by an operator' };
  }
  if (state !== 'RUNNING' && state !== 'PAUSED') {
    const what = asked.kind === 'pause' ? 'paused' : 'resumed';
    return { refusal: hasCopyEnded(job) ? `migration ${id} has ended (${state}) and cannot be ${what}` : `migration ${id} is ${state} and cannot be ${what} now` };
  }
  const next: CopyJob = asked.kind === 'pause' ? { ...job, state: 'PAUSED' } : { ...job, state: 'RUNNING', bytesPerSecond: asked.bytesPerSecond ?? job.bytesPerSecond };
  return next.state === state && next.bytesPerSecond === job.bytesPerSecond ? job : next;
}

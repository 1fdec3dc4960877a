// A migration: what was asked for and how it stands. The job is one record in etcd; what it does to each partition is
// an operator of its own (operator.ts), so that any coordinator goes on where another one stopped.
import type { MoveReason } from '@atoll/core-placement';
import type { MethodPlan } from './choose-method.ts';

/**
 * PREPARING  its operators are being written; nothing moves
 * RUNNING
 * PAUSED     no operator comes to its next step
 * CANCELLING operators that are not done go back
 * and the ends: SUCCEEDED (all done), FAILED (some went back by themselves), CANCELLED (some went back as asked for).
 */
export type MigrationState = 'PREPARING' | 'RUNNING' | 'PAUSED' | 'CANCELLING' | 'SUCCEEDED' | 'FAILED' | 'CANCELLED';

/** REQUESTED by an operator, or the REPLACE of a node by another, or why the coordinator began it. */
export type MigrationReason = 'REQUESTED' | 'REPLACE' | MoveReason;

/** In order of urgency: lost redundancy, then what an operator wants, then balance. */
export const MIGRATION_REASONS: readonly MigrationReason[] = ['MISSING', 'LOST', 'DRAIN', 'REPLACE', 'REQUESTED', 'ZONE', 'JOIN', 'BALANCE'];

export interface MigrationJob extends MethodPlan {
  /** 1 to 64 characters of [A-Za-z0-9_-]. */
  readonly id: string;
  readonly reason: MigrationReason;
  readonly state: MigrationState;
  /** Wall clock in ms: for people, no decision rests on it. `endedMs` is 0 until the end. */
  readonly createdMs: number;
  readonly endedMs: number;
  /** What was asked for, for people. */
  readonly description: string;
  /** Why it failed or was cancelled; empty otherwise. */
  readonly problem: string;
  /** Bound on what is copied, over all nodes; 0: the nodes' own. */
  readonly bytesPerSecond: number;
  readonly fullVerify: boolean;
  /** W3C trace context of the job's span; empty when it is not sampled. */
  readonly traceparent: string;
  /** Operators in all, and how those that ended did. */
  readonly total: number;
  readonly done: number;
  readonly rolledBack: number;
  /** Of the operators that ended. */
  readonly bytes: number;
  readonly entries: number;
  readonly pauseMsMax: number;
}

export const isEnded = ({ state }: MigrationJob): boolean => state === 'SUCCEEDED' || state === 'FAILED' || state === 'CANCELLED';

/** What operators of the cluster may ask of a job. Each may be asked for again. */
export type JobCommand = { readonly kind: 'pause' } | { readonly kind: 'resume'; readonly bytesPerSecond?: number | undefined } | { readonly kind: 'cancel' };

/** The job behind the command; the same one where the command changes nothing; why not where it cannot be carried out. */
export function command(job: MigrationJob, asked: JobCommand): MigrationJob | { readonly refusal: string } {
  const { state } = job;
  if (asked.kind === 'cancel') {
    if (state === 'CANCELLING' || state === 'CANCELLED') return job;
    return isEnded(job) || state === 'PREPARING' ? refuse(job, 'cancelled') : { ...job, state: 'CANCELLING', problem: 'cancelled by an operator' };
  }
  if (state !== 'RUNNING' && state !== 'PAUSED') return refuse(job, asked.kind === 'pause' ? 'paused' : 'resumed');
  const next: MigrationJob = asked.kind === 'pause' ? { ...job, state: 'PAUSED' } : { ...job, state: 'RUNNING', bytesPerSecond: asked.bytesPerSecond ?? job.bytesPerSecond };
  return next.state === state && next.bytesPerSecond === job.bytesPerSecond ? job : next;
}

function refuse(job: MigrationJob, what: string): { readonly refusal: string } {
  const { id, state } = job;
  return { refusal: isEnded(job) ? `migration ${id} has ended (${state}) and cannot be ${what}` : `migration ${id} is ${state} and cannot be ${what} now` };
}

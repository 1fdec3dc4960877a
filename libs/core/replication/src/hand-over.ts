// A planned transfer as its leader goes through it (R29):
//
//   holding    new writes wait before they get a seq; what is in the log commits
//   given up   the target has all of it: the leader is silent, and has named the record's revision; a promotion that
//              compares this revision needs no waiting for leases
//   reclaiming the promotion did not come: the leader rewrites the record, after which that revision matches nothing
//              any more, and goes on once that has succeeded
//
// Another record of the same epoch ends it at once, for the same reason.
import type { ReplicaId } from '@atoll/core-runtime';
import type { LogPosition } from './messages.ts';
import type { WriteRequest } from './replica-types.ts';
import type { WriteOutcome } from './uncommitted.ts';

export type HandOverOutcome =
  | { readonly kind: 'given-up'; readonly modRevision: number; readonly end: LogPosition }
  | { readonly kind: 'kept'; readonly problem: string };

/** A write that waits for the office to be settled. */
export interface HeldWrite {
  readonly request: WriteRequest;
  readonly done: (outcome: WriteOutcome) => void;
}

/** Writes that may wait for a transfer; more are refused before they get a seq (I10). */
const HELD_MAX = 10_000;

export class HandOver {
  readonly target: ReplicaId;
  readonly #deadlineMs: number;
  readonly #holdMs: number;
  readonly #done: (outcome: HandOverOutcome) => void;
  readonly #held: HeldWrite[] = [];
  #state: 'holding' | 'given-up' | 'reclaiming' = 'holding';
  #reclaimAtMs = Number.POSITIVE_INFINITY;

  /** `holdMs`: how long the commits may take, and again how long the promotion may. */
  constructor(options: { target: ReplicaId; holdMs: number; nowMs: number; done: (outcome: HandOverOutcome) => void }) {
    this.target = options.target;
    this.#holdMs = options.holdMs;
    this.#deadlineMs = options.nowMs + options.holdMs;
    this.#done = options.done;
  }

  /** Whether the leader must not answer, commit or change anything: a successor may be in office. */
  get isSilent(): boolean {
    return this.#state !== 'holding';
  }

  get isReclaiming(): boolean {
    return this.#state === 'reclaiming';
  }

  /** Returns false when no more writes can wait. */
  hold(write: HeldWrite): boolean {
    if (this.#held.length >= HELD_MAX) return false;
    this.#held.push(write);
    return true;
  }

  giveUp(options: { modRevision: number; end: LogPosition; nowMs: number }): void {
    this.#state = 'given-up';
    this.#reclaimAtMs = options.nowMs + this.#holdMs;
    this.#done({ kind: 'given-up', modRevision: options.modRevision, end: options.end });
  }

  /** It did not come to giving up. */
  keep(problem: string): void {
    if (this.#state === 'holding') this.#done({ kind: 'kept', problem });
  }

  isOverdue(nowMs: number): boolean {
    return this.#state === 'holding' && nowMs >= this.#deadlineMs;
  }

  /** Returns true once, when the promotion has not come in time. */
  startReclaiming(nowMs: number): boolean {
    if (this.#state !== 'given-up' || nowMs < this.#reclaimAtMs) return false;
    this.#state = 'reclaiming';
    return true;
  }

  takeHeld(): HeldWrite[] {
    return this.#held.splice(0);
  }
}

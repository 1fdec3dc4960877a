import type { ErrorReason } from '@atoll/core-errors';

/**
 * What follows a failure of one try:
 * - fail: the caller gets it
 * - refresh: again when the table names another leader or a pause is over
 * - backoff: again after a pause
 * - leader: again at once, at the leader
 */
export type Verdict = 'fail' | 'refresh' | 'backoff' | 'leader';

/** How a try ended without an answer of the node: its stream broke before or after the operation was handed to it. */
export type Loss = 'NOT_HANDED_OVER' | 'STREAM_LOST';

export interface FailedTry {
  readonly cause: ErrorReason | Loss;
  readonly wasAtLeader: boolean;
}

const REFRESH: ReadonlySet<string> = new Set<ErrorReason>([
  'NOT_LEADER',
  'PARTITION_UNAVAILABLE',
  'REPLICA_NOT_READY',
  'REPLICA_UNKNOWN',
  'STALE_EPOCH',
  'STALE_GENERATION',
  'SHUTTING_DOWN',
  'PEER_UNAVAILABLE',
  'WRITE_IN_DOUBT',
]);

const BACKOFF: ReadonlySet<string> = new Set<ErrorReason>(['NOT_ENOUGH_REPLICAS', 'OVERLOADED', 'METADATA_UNAVAILABLE']);

/**
 * Whether a try may be repeated. A node's plain failure promises that a write got no seq (R20), and one that may have
 * got one is recognised by its op id (R21): so reads and writes are judged alike.
 */
export function judgeFailure({ cause, wasAtLeader }: FailedTry): Verdict {
  if (cause === 'NOT_HANDED_OVER' || cause === 'STREAM_LOST') return 'refresh';
  if (cause === 'REPLICA_TOO_STALE') return wasAtLeader ? 'backoff' : 'leader';
  if (!wasAtLeader && REFRESH.has(cause)) return 'leader';
  if (REFRESH.has(cause)) return 'refresh';
  return BACKOFF.has(cause) ? 'backoff' : 'fail';
}

/** Whether a write that ended so may have got a seq (R20). From then on its caller hears success or WRITE_IN_DOUBT. */
export const leavesDoubt = (cause: ErrorReason | Loss): boolean => cause === 'STREAM_LOST' || cause === 'WRITE_IN_DOUBT';

/**
 * Time from the first sending of a write in which it is repeated, in ms. With a tenth for the partition's time, which may
 * run faster, and 5 s on the way it lies within the time for which leaders remember results (R21): 30 s.
 */
export const REPEAT_WINDOW_MS = 20_000;

/**
 * Pause before a leader is asked again that has not heard of its office yet, in ms: it is a matter of one watch event,
 * and one operation asks for all that wait.
 */
const NEWS_PAUSE_MS = 4;
/** Tries for which that is believed. */
const NEWS_TRIES_MAX = 25;

const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 250;

/**
 * Pause before try `attempts + 1`, `attempts` from 1: doubles from 10 to 250 ms, of which a random half to
 * whole is taken, so that operations that failed together do not come back together. `random` is in [0, 1).
 * `isNewsDue`: the node that refused knows an older epoch than the routing table.
 */
export function retryPauseMs(attempts: number, random: number, isNewsDue = false): number {
  if (isNewsDue && attempts <= NEWS_TRIES_MAX) return NEWS_PAUSE_MS;
  const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(attempts - 1, 10));
  return pauseMs * (0.5 + random / 2);
}

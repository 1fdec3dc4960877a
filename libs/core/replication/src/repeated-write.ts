// What a leader makes of a write that it may have had before (R21).
import type { WriteAnswer, WriteCommand } from '@atoll/core-store';
import type { WriteResult } from './result-table.ts';
import type { FailedWrite } from './uncommitted.ts';

/** The partition's time runs at most this much faster than a sender's clock (R23: a bend of a tenth), with drift. */
const PACE_MAX = 1.11;
/** A repeat may be on its way for this long after its age was taken: queues, and a connection that stands still. */
const TRANSIT_MS_MAX = 5000;

/**
 * The partition time before which no entry of the write can be stamped, when it was sent first `repeatAgeMs` ago: what
 * is remembered since then decides whether it happened.
 */
export function earliestStampMs(timeMs: number, repeatAgeMs: number): number {
  return timeMs - repeatAgeMs * PACE_MAX - TRANSIT_MS_MAX;
}

/** What the first sending was told; undefined when the op id belongs to another kind of write. */
export function answerOf(result: WriteResult, command: WriteCommand, generation: number): WriteAnswer | undefined {
  const current = result.current && { generation, ...result.current };
  switch (command.kind) {
    case 'set':
      if (result.effect === 'deleted') return undefined;
      return { kind: 'set', applied: result.effect === 'put', current };
    case 'delete':
      if (result.effect === 'put') return undefined;
      return { kind: 'delete', found: result.effect === 'deleted' || current !== undefined, applied: result.effect === 'deleted', current };
    case 'increment':
      if (result.effect !== 'put' || result.integer === undefined) return undefined;
      return { kind: 'increment', value: result.integer, expiresAtMs: result.expiresAtMs };
    case 'merge':
      // They have no op ids: what comes again changes nothing.
      return undefined;
    default:
      command satisfies { kind: 'touch' };
      if (result.effect === 'deleted') return undefined;
      return { kind: 'touch', applied: result.effect === 'put', expiresAtMs: result.expiresAtMs };
  }
}

/** The write is older than what is remembered. Sending it again changes nothing about that: `metadata.cause` says so. */
export const resultForgotten = (): FailedWrite => ({
  kind: 'failed',
  reason: 'WRITE_IN_DOUBT',
  message: 'the write was sent before, and too long ago to tell whether it happened',
  metadata: { cause: 'RESULT_FORGOTTEN' },
});

export const opIdReused = (): FailedWrite => ({
  kind: 'failed',
  reason: 'INVALID_ARGUMENT',
  message: 'op_id: was given to another write already',
  metadata: { field: 'op_id' },
});

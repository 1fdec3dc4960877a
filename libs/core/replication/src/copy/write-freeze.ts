// How a leader holds its partition still while a copy of it takes its place (R37):
//
//   frozen   the record names a cut-over: nothing more is written. The leader puts a barrier into its log; when that is
//            committed, whatever was acknowledged in this partition is before it
//   sealed   nothing is read from the leader any more either: the copy may take writes from now on, and an answer of this
//            one could be an older one than the copy's
//
//   kept     the record names the freeze of its keyspace, which lasts until an operator ends it: nothing of clients is
//            written, for as long as that takes. All else goes on: the office moves, markers are put, replicas are filled
//
//   fenced   the record names a standby that takes the place of the keyspace without it: as `kept`, and nothing is read from the
//            leader either, from the moment on that it reads the record
//
// All of them end with a record that does not name that cut-over, and with nothing else: no time runs out here. A barrier holds for
// later leaders, too, since each reads the record before it takes office; a seal is of one office alone.
import type { LogPosition } from '../messages.ts';
import type { FailedWrite } from '../uncommitted.ts';

/** `position`: the barrier, committed. */
export type FreezeAnswer = { readonly kind: 'confirmed'; readonly position: LogPosition } | { readonly kind: 'not-yet'; readonly problem: string };

/** By identity: a write that got this got no seq, and gets none while the record is so. */
export const FROZEN: FailedWrite = { kind: 'failed', reason: 'PARTITION_UNAVAILABLE', message: 'writes wait: a copy of the keyspace is about to take its place' };
/** The freeze of a whole keyspace: nobody should wait for its end. */
export const KEPT: FailedWrite = { kind: 'failed', reason: 'KEYSPACE_FROZEN', message: 'the keyspace is frozen and takes no writes' };
export const SEALED: FailedWrite = { kind: 'failed', reason: 'PARTITION_UNAVAILABLE', message: 'reads wait: a copy of the keyspace takes its place' };

export class WriteFreeze {
  #barrier: { readonly cutOver: string; readonly position: LogPosition } | undefined;
  #sealedFor: string | undefined;

  /** The barrier of this cut-over; put by `put` where there is none. */
  barrier(cutOver: string, put: () => LogPosition): LogPosition {
    if (this.#barrier?.cutOver !== cutOver) this.#barrier = { cutOver, position: put() };
    return this.#barrier.position;
  }

  seal(cutOver: string): void {
    this.#sealedFor = cutOver;
  }

  /** `frozen`: what the record says. */
  isSealed(frozen: string | undefined): boolean {
    return frozen !== undefined && frozen === this.#sealedFor;
  }
}

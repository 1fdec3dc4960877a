// How a leader holds its partition still for the cut of a backup (R39):
//
//   held       a marker is in the log, and behind it nothing that a client wrote: writes wait before they get a seq (R20)
//   released   whoever asked for it says that every partition has its marker committed; the leader answers whether it held
//              without a gap from the marker until now
//   over       nobody released it in time: writes go on. A release that comes later is told so, and the cut is void
//
// docs/design/backup.md has the proof that a cut whose releases all stood is consistent.
import type { HeldWrite } from '../hand-over.ts';
import type { LogPosition } from '../messages.ts';

/** `position`: the marker, committed; `stampMs`: the partition's time there. */
export type BarrierAnswer = { readonly kind: 'held'; readonly position: LogPosition; readonly stampMs: number } | { readonly kind: 'not-held'; readonly problem: string };

/** `problem`: why the cut is void; undefined: the hold stood. */
export interface BarrierRelease {
  readonly problem: string | undefined;
}

/** Writes that may wait, and what they take; more are refused before they get a seq (I10). */
const HELD_MAX = 10_000;

export interface BarrierHoldOptions {
  readonly id: string;
  readonly holdMs: number;
  /** Monotonic. */
  readonly nowMs: number;
  /** Of keys and values of the writes that wait. */
  readonly heldBytesMax: number;
  /** Called once. */
  readonly done: (answer: BarrierAnswer) => void;
}

export class BarrierHold {
  readonly id: string;
  readonly #deadlineMs: number;
  readonly #heldBytesMax: number;
  readonly #done: (answer: BarrierAnswer) => void;
  readonly #held: HeldWrite[] = [];
  #heldBytes = 0;
  #marker: { readonly position: LogPosition; readonly stampMs: number } | undefined;
  #isCommitted = false;

  constructor({ id, holdMs, nowMs, heldBytesMax, done }: BarrierHoldOptions) {
    this.id = id;
    this.#deadlineMs = nowMs + holdMs;
    this.#heldBytesMax = heldBytesMax;
    this.#done = done;
  }

  get isCommitted(): boolean {
    return this.#isCommitted;
  }

  marked(position: LogPosition, stampMs: number): void {
    this.#marker = { position, stampMs };
  }

  /** Returns false when no more writes can wait. */
  hold(write: HeldWrite): boolean {
    const { key, command } = write.request;
    const bytes = key.length + ('value' in command ? command.value.length : 0);
    if (this.#held.length >= HELD_MAX || (this.#heldBytes > 0 && this.#heldBytes + bytes > this.#heldBytesMax)) return false;
    this.#heldBytes += bytes;
    this.#held.push(write);
    return true;
  }

  onApplied(seq: number): void {
    if (this.#isCommitted || this.#marker === undefined || seq < this.#marker.position.seq) return;
    this.#isCommitted = true;
    this.#done({ kind: 'held', ...this.#marker });
  }

  isOverdue(nowMs: number): boolean {
    return nowMs >= this.#deadlineMs;
  }

  /** The hold is over. Answers the writes that waited, in their order. */
  end(problem: string): readonly HeldWrite[] {
    if (!this.#isCommitted) this.#done({ kind: 'not-held', problem });
    this.#isCommitted = true;
    return this.#held.splice(0);
  }
}

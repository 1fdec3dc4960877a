import { assertRecord, type PartitionRecord, type VersionedRecord } from '@atoll/core-membership';
import type { Dice } from './dice.ts';
import type { EventQueue } from './event-queue.ts';

export type SwapOutcome = { readonly kind: 'succeeded'; readonly modRevision: number } | { readonly kind: 'refused' | 'unknown' };

/** Time after which a caller gives up on an answer. */
const DEADLINE_MS = 60;

/**
 * One record with compare-and-swap on its revision. While `isLossy`, a request may be lost, or its answer; and one
 * that its caller has given up may still be applied later (R7).
 */
export class SimulatedEtcd {
  isLossy = false;
  readonly #events: EventQueue;
  readonly #dice: Dice;
  readonly #onWrite: (current: VersionedRecord) => void;
  #current: VersionedRecord;
  #inFlight = 0;

  constructor(options: { events: EventQueue; dice: Dice; first: PartitionRecord; onWrite: (current: VersionedRecord) => void }) {
    this.#events = options.events;
    this.#dice = options.dice;
    this.#onWrite = options.onWrite;
    assertRecord(options.first);
    this.#current = { record: options.first, modRevision: 1 };
  }

  get current(): VersionedRecord {
    return this.#current;
  }

  /** Whether a request is on its way that may still change the record. */
  get isBusy(): boolean {
    return this.#inFlight > 0;
  }

  swap(baseRevision: number, record: PartitionRecord, answer: (outcome: SwapOutcome) => void): void {
    const fate = this.#isTroubled() ? this.#dice.pick(['lost', 'answer lost', 'late'] as const) : 'well';
    let isAnswered = false;
    const answerOnce = (outcome: SwapOutcome): void => {
      if (isAnswered) return;
      isAnswered = true;
      answer(outcome);
    };
    this.#events.after(DEADLINE_MS, () => answerOnce({ kind: 'unknown' }));
    if (fate === 'lost') return;
    this.#inFlight += 1;
    const arrivesMs = fate === 'late' ? DEADLINE_MS + this.#dice.below(200) : this.#dice.between(1, 15);
    this.#events.after(arrivesMs, () => {
      this.#inFlight -= 1;
      const outcome = this.#apply(baseRevision, record);
      if (fate === 'well') this.#events.after(this.#dice.between(1, 15), () => answerOnce(outcome));
    });
  }

  /** Linearizable; unanswered when the request or the answer is lost. */
  read(answer: (current: VersionedRecord) => void): void {
    if (this.#isTroubled()) return;
    this.#events.after(this.#dice.between(1, 15), () => {
      const { current } = this;
      this.#events.after(this.#dice.between(1, 15), () => answer(current));
    });
  }

  #isTroubled(): boolean {
    return this.isLossy && this.#dice.chance(0.5);
  }

  #apply(baseRevision: number, record: PartitionRecord): SwapOutcome {
    if (this.#current.modRevision !== baseRevision) return { kind: 'refused' };
    assertRecord(record);
    this.#current = { record, modRevision: baseRevision + 1 };
    this.#onWrite(this.#current);
    return { kind: 'succeeded', modRevision: this.#current.modRevision };
  }
}

// When planned transfers that can wait begin (R29): one, or as few as time allows, then a rest, so that those which serve meanwhile have the
// machine for themselves again. One transfer is felt for a moment; those of a whole node, one behind the other, keep
// every process busy for as long as they last, and then each of them takes many times as long.
import type { HandOver, HandOverReason } from '@atoll/core-membership';

/** A node that stops waits 5 s for its transfers: they are to be over well before. */
const STOPPING_MS_MAX = 3000;
/** Longest rest, in ms. */
const REST_MS_MAX = 150;
/** What a batch takes on a busy machine, with a short rest behind it. */
const BATCH_MS = 60;
/** Transfers on request at a time: by migrations, and by operators, who wait for the last of them. */
const REQUESTED_MAX = 2;

/** Nobody waits for these, or not for each of them. */
const PACED: ReadonlySet<HandOverReason> = new Set<HandOverReason>(['STOPPING', 'DRAINING', 'BALANCE']);

export const isPaced = ({ reason }: Pick<HandOver, 'reason'>): boolean => PACED.has(reason);

type Planned = Pick<HandOver, 'reason'>;

export class HandOverPace {
  readonly #handOversMax: number;
  /** Transfers of nodes that stop are to be over by then; undefined: there are none. */
  #stoppingEndsMs: number | undefined;
  /** Of the newest plan, without what was begun. */
  #left = 0;
  #running = 0;
  #requested = 0;
  /** How many may run at a time. */
  #batch = 1;
  #restUntilMs = -Infinity;

  constructor(options: { readonly handOversMax: number }) {
    this.#handOversMax = options.handOversMax;
  }

  /** What is to be transferred now, without what is under way. */
  plan(planned: readonly Planned[], nowMs: number): void {
    this.#left = planned.filter(isPaced).length;
    const isStopping = planned.some(({ reason }) => reason === 'STOPPING');
    if (isStopping) this.#stoppingEndsMs ??= nowMs + STOPPING_MS_MAX;
    else if (this.#running === 0) this.#stoppingEndsMs = undefined;
    if (this.#running === 0) this.#batch = Math.max(1, Math.min(this.#handOversMax, Math.ceil(this.#left / this.#slots(nowMs))));
  }

  /** True counts as begun. */
  mayBegin(handOver: Planned, nowMs: number): boolean {
    if (handOver.reason === 'REQUESTED') {
      if (this.#requested >= REQUESTED_MAX) return false;
      this.#requested += 1;
      return true;
    }
    if (!isPaced(handOver)) return true;
    if (nowMs < this.#restUntilMs || this.#running >= this.#batch) return false;
    this.#running += 1;
    this.#left -= 1;
    return true;
  }

  /** Returns the rest before more may begin, in ms. */
  end(ended: readonly Planned[], nowMs: number): number {
    this.#requested -= ended.filter(({ reason }) => reason === 'REQUESTED').length;
    const paced = ended.filter(isPaced).length;
    if (paced === 0) return 0;
    this.#running -= paced;
    const restMs = Math.min(REST_MS_MAX, this.#share(nowMs));
    this.#restUntilMs = nowMs + restMs;
    return restMs;
  }

  /** Whether some go on, or are still to come. */
  get isSpreading(): boolean {
    return this.#running > 0 || this.#left > 0;
  }

  /** Of the time that is left, for each batch that is. */
  #share(nowMs: number): number {
    if (this.#stoppingEndsMs === undefined) return REST_MS_MAX;
    return Math.max(0, (this.#stoppingEndsMs - nowMs) / Math.max(1, Math.ceil(this.#left / this.#batch)) - BATCH_MS);
  }

  /** Batches for which there is time. */
  #slots(nowMs: number): number {
    if (this.#stoppingEndsMs === undefined) return Number.POSITIVE_INFINITY;
    return Math.max(1, (this.#stoppingEndsMs - nowMs) / BATCH_MS);
  }
}

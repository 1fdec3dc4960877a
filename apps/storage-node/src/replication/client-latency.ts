import { LatencyWindow } from '@atoll/core-replication';

/** Operations of an interval below which there is no p99 to speak of. */
const OPERATIONS_MIN = 10;
/** Of the intervals without a transfer the last ten count, about. Of those with one the last two: who is slowed down by what was would stand at the floor. */
const BASELINE_FADING = 0.9;
/** Beside the last interval the one before counts by half: a p99 of some hundred operations jumps, and each jump would slow the transfer down. */
const RECENT_FADING = 0.5;

/**
 * What clients of this node wait for, as far as the node itself can tell: the p99 of the time from the arrival of an
 * operation to its answer, plus the p99 by which the event loop is late. Either alone tells too little: a read is answered
 * in the turn in which it is read, so that its own time is next to nothing, and what it waited in the socket shows in the
 * loop alone; a write waits for followers, which the loop of the leader does not show.
 */
export class ClientLatency {
  readonly #operations = new PhasedWindow();
  readonly #loop = new PhasedWindow();

  /** An operation was answered after `ms`. */
  recordOperation(ms: number): void {
    this.#operations.interval.record(ms);
  }

  /** A timer of the event loop came so late. */
  recordLoopLag(ms: number): void {
    this.#loop.interval.record(ms);
  }

  /** To be called at equal intervals, with whether transfers were under way since the last one. */
  endInterval(wasSending: boolean): void {
    this.#operations.endInterval(wasSending);
    this.#loop.endInterval(wasSending);
  }

  /** undefined: there are no clients, or too few. */
  get p99Ms(): number | undefined {
    // Clients that were many and are gone stay in the window for seconds, and would slow down what nobody feels.
    return this.#operations.isIdle ? undefined : this.#sum((window) => window.recent);
  }

  /** Of the time without transfers; undefined: nobody was served then. */
  get baselineMs(): number | undefined {
    return this.#sum((window) => window.baseline);
  }

  #sum(pick: (window: PhasedWindow) => LatencyWindow): number | undefined {
    const operations = pick(this.#operations);
    if (operations.weight < OPERATIONS_MIN) return undefined;
    return operations.p99Ms! + (pick(this.#loop).p99Ms ?? 0);
  }
}

class PhasedWindow {
  readonly interval = new LatencyWindow(0);
  readonly recent = new LatencyWindow(RECENT_FADING);
  readonly baseline = new LatencyWindow(BASELINE_FADING);
  /** Whether the last interval brought nothing. */
  isIdle = true;

  endInterval(wasSending: boolean): void {
    for (const window of wasSending ? [this.recent] : [this.recent, this.baseline]) {
      window.endInterval();
      window.add(this.interval);
    }
    this.isIdle = this.interval.weight === 0;
    this.interval.clear();
  }
}

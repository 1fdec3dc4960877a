// Signals of a node that is up and serves badly, for active failover: it hands its leaderships over before it fails.
// A signal counts only where the node stands out from the others: what all of them show is the load, and moving
// leaderships about would add to it. An error of the disk counts by itself.
import type { NodeReport } from './node-report.ts';

/** Time constant of the means, in ms. A guess. */
const MEAN_OVER_MS = 2000;
/**
 * No sample counts for more than so many times the bound, nor for more time than this, in ms: one stall, however long,
 * is not enough to degrade a node. One that stood still for a minute answers all the beats of that minute at once.
 */
const SAMPLE_BOUNDS_MAX = 10;
const SAMPLE_MS_MAX = 200;
/** A signal must last for so long before it counts, and be gone for so long before it does not, in ms. */
export const LASTING_MS = 3000;

interface Signal {
  readonly valueOf: (report: NodeReport, beatMs: number) => number | undefined;
  /** Above it the node serves badly. */
  readonly max: number;
  /** And above so many times the median of the other nodes. */
  readonly factor: number;
  readonly describe: (value: number) => string;
}

/** Bounds are guesses by order of magnitude: far above a healthy node, below what ends in a lost lease (1 s). */
const SIGNALS: readonly Signal[] = [
  { valueOf: ({ loopLagMs }) => loopLagMs, max: 100, factor: 3, describe: (value) => `its event loop stalls (${Math.round(value)} ms)` },
  { valueOf: (_report, beatMs) => beatMs, max: 100, factor: 5, describe: (value) => `its heartbeats are slow (${Math.round(value)} ms)` },
  { valueOf: ({ diskFlushMs }) => (diskFlushMs > 0 ? diskFlushMs : undefined), max: 500, factor: 5, describe: (value) => `its disk is slow (${Math.round(value)} ms a flush)` },
  { valueOf: ({ memoryUsed }) => memoryUsed, max: 0.95, factor: 1.2, describe: (value) => `its memory is ${Math.round(value * 100)} % full` },
];

/** Smoothed signals of one process. */
export class Health {
  /** From 0 on: nobody is bad before it was seen for a while. */
  readonly means: number[] = SIGNALS.map(() => 0);
  diskError = '';
  /** Since when each signal is other than it counts. Index SIGNALS.length is the disk error. */
  readonly #turnedMs: (number | undefined)[] = [];
  readonly #isBad: boolean[] = [];
  #takenMs: number | undefined;

  /** @param beatMs From the sending of the beat to its answer. */
  take(report: NodeReport, beatMs: number, nowMs: number): void {
    const share = this.#takenMs === undefined ? 0 : 1 - Math.exp(-Math.min(nowMs - this.#takenMs, SAMPLE_MS_MAX) / MEAN_OVER_MS);
    this.#takenMs = nowMs;
    this.diskError = report.diskError;
    for (const [index, { valueOf, max }] of SIGNALS.entries()) {
      const value = valueOf(report, beatMs);
      const mean = this.means[index] ?? 0;
      if (value !== undefined) this.means[index] = mean + share * (Math.min(value, SAMPLE_BOUNDS_MAX * max) - mean);
    }
  }

  /** What is wrong with the node, as it stands out from `others`; in a fixed order. */
  degraded(others: readonly Health[], nowMs: number): readonly string[] {
    const reasons: string[] = [];
    for (const [index, { max, factor, describe }] of SIGNALS.entries()) {
      const mean = this.means[index] ?? 0;
      const isBad = others.length > 0 && mean > max && mean > factor * median(others, index);
      if (this.#lasting(index, isBad, nowMs)) reasons.push(describe(mean));
    }
    // A disk that failed once is not trusted at once again.
    const index = SIGNALS.length;
    if (this.diskError !== '') this.#isBad[index] = true;
    if (this.#lasting(index, this.diskError !== '', nowMs)) reasons.push(`its disk fails${this.diskError === '' ? '' : `: ${this.diskError}`}`);
    return reasons;
  }

  #lasting(index: number, isBad: boolean, nowMs: number): boolean {
    const was = this.#isBad[index] ?? false;
    if (isBad === was) this.#turnedMs[index] = undefined;
    else if (nowMs - (this.#turnedMs[index] ??= nowMs) >= LASTING_MS) {
      this.#turnedMs[index] = undefined;
      this.#isBad[index] = isBad;
      return isBad;
    }
    return was;
  }
}

function median(others: readonly Health[], index: number): number {
  const values = others.map(({ means }) => means[index] ?? 0).toSorted((a, b) => a - b);
  return values[Math.floor((values.length - 1) / 2)] ?? 0;
}

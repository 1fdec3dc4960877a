import { Latencies, median } from '../../latencies.ts';

/** Some seconds of load on one cluster. */
export interface Turn {
  /** Operations that finished. */
  readonly operations: number;
  readonly elapsedMs: number;
  /** CPU time of the cluster's services meanwhile. */
  readonly cpuMs: number;
}

/** CPU time that goes with time and not with operations, in ms per second of a turn. */
export interface Background {
  /** What the side without the feature takes when nobody uses it; taken off both sides. */
  readonly idle: number;
  /** What is charged to the side with the feature on top, because it did not happen within the turns. */
  readonly charged: number;
}

/** What a feature costs: with it, to without it. */
export interface Overhead {
  /** One per alternation, in their order. */
  readonly ratios: readonly number[];
  readonly median: number;
  /** Quartiles of the ratios. */
  readonly low: number;
  readonly high: number;
  /** Medians, in microseconds. */
  readonly onUs: number;
  readonly offUs: number;
}

/**
 * CPU time per operation in turns with a feature, to that in the turns without it beside them. Idle work is taken off
 * both sides alike: what the feature does while nobody calls stays in the figure, and what both do does not thin it.
 */
export function overheadOf(on: readonly Turn[], off: readonly Turn[], { idle, charged }: Background): Overhead {
  const perOperationUs = ({ operations, elapsedMs, cpuMs }: Turn, addedPerSecond: number): number => (1000 * (cpuMs + (addedPerSecond * elapsedMs) / 1000)) / Math.max(1, operations);
  const onUs = on.map((turn) => perOperationUs(turn, charged - idle));
  const offUs = off.map((turn) => perOperationUs(turn, -idle));
  return summarize({ ratios: onUs.map((us, index) => us / offUs[index]!), onUs: median(onUs), offUs: median(offUs) });
}

/** Several overheads of the same feature as one. */
export const together = (overheads: readonly Overhead[]): Overhead =>
  summarize({ ratios: overheads.flatMap(({ ratios }) => ratios), onUs: median(overheads.map(({ onUs }) => onUs)), offUs: median(overheads.map(({ offUs }) => offUs)) });

function summarize(known: Pick<Overhead, 'ratios' | 'onUs' | 'offUs'>): Overhead {
  const sorted = new Latencies();
  for (const ratio of known.ratios) sorted.add(ratio);
  return { ...known, median: median(known.ratios), low: sorted.percentile(25), high: sorted.percentile(75) };
}

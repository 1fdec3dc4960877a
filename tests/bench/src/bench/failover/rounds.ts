import { median } from '../../latencies.ts';
import { tableText } from '../../output/text.ts';
import { WriteProbe, type ProbeTarget } from './write-probe.ts';

/** What one round showed. */
export interface FailoverRound {
  /** Ms from the fault until every slot that it hit had taken a write again; undefined: not in time. */
  readonly recoveryMs: number | undefined;
  readonly acknowledged: number;
  /** Acknowledged writes that are gone. */
  readonly lost: number;
  readonly failures: Readonly<Record<string, number>>;
}

export interface RoundOptions {
  readonly target: ProbeTarget;
  readonly name: string;
  readonly writesPerSecond: number;
  readonly signal: AbortSignal;
  /** Slots that the fault will hit, and the fault. */
  readonly fault: { readonly slots: ReadonlySet<number>; strike(): void };
  /** Makes the cluster whole again. */
  readonly heal: () => Promise<void>;
}

const BEFORE_MS = 1000;
const AFTER_MS = 500;
const RECOVERY_MS_MAX = 60_000;

/** One fault under load; afterwards, with the cluster whole again, every acknowledged write is read. */
export async function runRound({ target, name, writesPerSecond, signal, fault, heal }: RoundOptions): Promise<FailoverRound> {
  const probe = new WriteProbe({ target, writesPerSecond, prefix: name }).start();
  await pause(BEFORE_MS);
  const faultMs = performance.now();
  fault.strike();
  const recoveryMs = await probe.recovery(fault.slots, faultMs, RECOVERY_MS_MAX, signal);
  await pause(AFTER_MS);
  await probe.stop();
  await heal();
  return { recoveryMs, acknowledged: probe.acknowledged, lost: await probe.countLost(), failures: probe.failures };
}

export const roundText = ({ recoveryMs, acknowledged, lost, failures }: FailoverRound): string =>
  `${recoveryMs === undefined ? 'no writes in time' : `${Math.round(recoveryMs)} ms`}, ${lost} of ${acknowledged} acknowledged writes lost, failed: ${JSON.stringify(failures)}`;

export interface FailoverSummary {
  readonly medianMs: number;
  readonly worstMs: number;
  readonly acknowledged: number;
  readonly lost: number;
  readonly failed: number;
}

export function summarize(rounds: readonly FailoverRound[]): FailoverSummary {
  const times = rounds.map(({ recoveryMs }) => recoveryMs ?? Number.POSITIVE_INFINITY);
  return {
    medianMs: median(times),
    worstMs: Math.max(...times),
    acknowledged: rounds.reduce((sum, { acknowledged }) => sum + acknowledged, 0),
    lost: rounds.reduce((sum, { lost }) => sum + lost, 0),
    failed: rounds.reduce((sum, { failures }) => sum + Object.values(failures).reduce((all, count) => all + count, 0), 0),
  };
}

export function summaryText(named: readonly (readonly [string, FailoverSummary])[]): string {
  const seconds = (ms: number): string => (Number.isFinite(ms) ? `${(ms / 1000).toFixed(2)} s` : 'not in time');
  const rows = named.map(([name, { medianMs, worstMs, acknowledged, lost, failed }]) => [name, seconds(medianMs), seconds(worstMs), String(acknowledged), String(lost), String(failed)]);
  return tableText(['', 'median', 'worst', 'acknowledged', 'lost', 'failed'], rows);
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

import { median } from '../latencies.ts';
import { msText, tableText } from '../output/text.ts';
import type { RoundResult } from './workers/generator-protocol.ts';

/** A figure against its target. */
export interface Check {
  readonly name: string;
  readonly value: number;
  /** For people, with its unit. */
  readonly text: string;
  readonly target: string;
  readonly passed: boolean;
}

export const atLeast = (name: string, value: number, min: number): Check => ({ name, value, text: `${value.toFixed(2)} x`, target: `>= ${min} x`, passed: value >= min });

export const atMost = (name: string, value: number, max: number): Check => ({ name, value, text: `${value.toFixed(2)} x`, target: `<= ${max} x`, passed: value <= max });

/** Two sides that ran in turn. */
export interface Contest {
  readonly name: string;
  readonly peerName: string;
  readonly atoll: readonly RoundResult[];
  readonly peer: readonly RoundResult[];
  /** Median of the ratios of the rounds, Atoll to peer: what slows the machine for a while slows both sides of a pair. */
  readonly throughputRatio: number;
  readonly p50Ratio: number;
}

export interface ContestOptions {
  readonly name: string;
  readonly peerName: string;
  readonly rounds: number;
  readonly runAtoll: () => Promise<RoundResult>;
  readonly runPeer: () => Promise<RoundResult>;
  readonly signal: AbortSignal;
}

/** One uncounted round each to warm up, then alternating rounds. */
export async function runContest({ name, peerName, rounds, runAtoll, runPeer, signal }: ContestOptions): Promise<Contest> {
  const atoll: RoundResult[] = [];
  const peer: RoundResult[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    signal.throwIfAborted();
    const ours = await runAtoll();
    signal.throwIfAborted();
    const theirs = await runPeer();
    if (round === 0) continue;
    atoll.push(ours);
    peer.push(theirs);
  }
  const ratio = (figure: (result: RoundResult) => number): number => median(atoll.map((result, round) => figure(result) / figure(peer[round]!)));
  return { name, peerName, atoll, peer, throughputRatio: ratio(({ operationsPerSecond }) => operationsPerSecond), p50Ratio: ratio(({ p50Ms }) => p50Ms) };
}

export function contestText({ name, peerName, atoll, peer, throughputRatio, p50Ratio }: Contest): string {
  const cells = (result: RoundResult): string[] => [String(Math.round(result.operationsPerSecond)), msText(result.p50Ms), msText(result.p99Ms)];
  const rows = atoll.map((result, round) => [`${round + 1}`, ...cells(result), ...cells(peer[round]!)]);
  const middle = (results: readonly RoundResult[]): string[] => [
    String(Math.round(median(results.map(({ operationsPerSecond }) => operationsPerSecond)))),
    msText(median(results.map(({ p50Ms }) => p50Ms))),
    msText(median(results.map(({ p99Ms }) => p99Ms))),
  ];
  const headings = ['round', 'atoll op/s', 'p50', 'p99', `${peerName} op/s`, 'p50', 'p99'];
  const failures = [...atoll, ...peer].flatMap(({ errors }) => Object.entries(errors));
  return [
    name,
    tableText(headings, [...rows, ['median', ...middle(atoll), ...middle(peer)]]),
    `ratio (median of the rounds'): throughput ${throughputRatio.toFixed(2)} x, p50 ${p50Ratio.toFixed(2)} x`,
    ...(failures.length > 0 ? [`failed operations: ${failures.map(([reason, count]) => `${reason} ${count}`).join(', ')}`] : []),
  ].join('\n');
}

/** A contest in which operations failed proves nothing. */
export function noErrors(contest: Contest): Check {
  const count = [...contest.atoll, ...contest.peer].reduce((total, { errors }) => total + Object.values(errors).reduce((sum, number) => sum + number, 0), 0);
  return { name: `${contest.name}: failed operations`, value: count, text: String(count), target: '0', passed: count === 0 };
}

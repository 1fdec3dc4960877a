import { median } from '../latencies.ts';
import { cpuTimeMs } from './cpu-time.ts';
import { msText, tableText } from '../output/text.ts';
import type { GeneratorProcess } from './workers/generator-process.ts';
import type { Round, RoundResult } from './workers/generator-protocol.ts';

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

/** One side of a contest. */
export interface Side {
  readonly generator: GeneratorProcess;
  /** Processes that serve, for their CPU time. */
  readonly serverPids: readonly number[];
}

/** A round and the CPU time that it took; NaN where the system does not tell. */
export interface MeasuredRound extends RoundResult {
  readonly clientCpuUsPerOperation: number;
  readonly serverCpuUsPerOperation: number;
}

/** Two sides that ran in turn. */
export interface Contest {
  readonly name: string;
  readonly peerName: string;
  readonly atoll: readonly MeasuredRound[];
  readonly peer: readonly MeasuredRound[];
  /** Median of the ratios of the rounds, Atoll to peer: what slows the machine for a while slows both sides of a pair. */
  readonly throughputRatio: number;
  readonly p50Ratio: number;
}

export interface ContestOptions {
  readonly name: string;
  readonly peerName: string;
  readonly rounds: number;
  readonly round: Round;
  readonly atoll: Side;
  readonly peer: Side;
  readonly signal: AbortSignal;
}

/** One uncounted round each to warm up, then alternating rounds. */
export async function runContest({ name, peerName, rounds, round, signal, ...sides }: ContestOptions): Promise<Contest> {
  const atoll: MeasuredRound[] = [];
  const peer: MeasuredRound[] = [];
  for (let number = 0; number <= rounds; number += 1) {
    signal.throwIfAborted();
    const ours = await measure(sides.atoll, round);
    signal.throwIfAborted();
    const theirs = await measure(sides.peer, round);
    if (number === 0) continue;
    atoll.push(ours);
    peer.push(theirs);
  }
  const ratio = (figure: (result: RoundResult) => number): number => median(atoll.map((result, index) => figure(result) / figure(peer[index]!)));
  return { name, peerName, atoll, peer, throughputRatio: ratio(({ operationsPerSecond }) => operationsPerSecond), p50Ratio: ratio(({ p50Ms }) => p50Ms) };
}

async function measure({ generator, serverPids }: Side, round: Round): Promise<MeasuredRound> {
  const clientMs = cpuTimeMs([generator.pid]);
  const serverMs = cpuTimeMs(serverPids);
  const result = await generator.run(round);
  const perOperation = (ms: number): number => (1000 * ms) / Math.max(1, result.operations);
  return {
    ...result,
    clientCpuUsPerOperation: perOperation(cpuTimeMs([generator.pid]) - clientMs),
    serverCpuUsPerOperation: perOperation(cpuTimeMs(serverPids) - serverMs),
  };
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
    cpuText('atoll', atoll),
    cpuText(peerName, peer),
    ...(failures.length > 0 ? [`failed operations: ${failures.map(([reason, count]) => `${reason} ${count}`).join(', ')}`] : []),
  ].join('\n');
}

/** CPU time depends less on what else the machine does than throughput does. */
function cpuText(name: string, rounds: readonly MeasuredRound[]): string {
  const client = median(rounds.map(({ clientCpuUsPerOperation }) => clientCpuUsPerOperation));
  const server = median(rounds.map(({ serverCpuUsPerOperation }) => serverCpuUsPerOperation));
  return `CPU per operation, ${name}: client ${client.toFixed(1)} us, servers ${server.toFixed(1)} us`;
}

/** A contest in which operations failed proves nothing. */
export function noErrors(contest: Contest): Check {
  const count = [...contest.atoll, ...contest.peer].reduce((total, { errors }) => total + Object.values(errors).reduce((sum, number) => sum + number, 0), 0);
  return { name: `${contest.name}: failed operations`, value: count, text: String(count), target: '0', passed: count === 0 };
}

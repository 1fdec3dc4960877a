import { tableText } from '../../output/text.ts';
import { atMost, type Check } from '../contest.ts';
import { cpuTimeMs } from '../cpu-time.ts';
import type { BenchContext, Section } from '../section.ts';
import { MeasuredCluster, type MeasuredTurn, type Way } from '../telemetry/measured-cluster.ts';
import { overheadOf, together, type Overhead } from '../telemetry/overhead.ts';
import { startOtlpReceiver, type OtlpReceiver } from '../workers/generator-process.ts';
import type { Round } from '../workers/generator-protocol.ts';

/** The defaults of ATOLL_TRACE_RATIO and ATOLL_TRACES_PER_SECOND. */
const TRACE_RATIO = 0.001;
const TRACES_PER_SECOND = 10;
/** That of infra/prometheus/prometheus.yml. */
const SCRAPE_INTERVAL_S = 10;
const MAX = { tracing: 1.05, metrics: 1.03 } as const;

/**
 * The speed of a virtual core changes by a third within seconds: the clusters of a set run at the same time, so that it does so for
 * all of them. Clusters with the same settings differ for as long as they run, by how their code was compiled: there are several sets.
 */
const SIZES = {
  full: { sets: 5, turnsPerSet: 12, turnMs: 2000, warmUpMs: 4000, restMs: 5000 },
  quick: { sets: 1, turnsPerSet: 3, turnMs: 1000, warmUpMs: 2000, restMs: 1000 },
} as const;
const KEYS = 10_000;
const VALUE_BYTES = 100;

/** The middle one is the "off" of tracing and the "on" of metrics. Blank is unset: what this process has in its environment does not count. */
const OFF = { OTEL_EXPORTER_OTLP_ENDPOINT: '', ATOLL_TRACE_RATIO: '0' } as const;
const SIDES = {
  traced: ({ endpoint }: OtlpReceiver) => ({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, ATOLL_TRACE_RATIO: '', ATOLL_TRACES_PER_SECOND: '', ATOLL_METRICS: 'on' }),
  untraced: () => ({ ...OFF, ATOLL_METRICS: 'on' }),
  bare: () => ({ ...OFF, ATOLL_METRICS: 'off' }),
} as const satisfies Record<string, (receiver: OtlpReceiver) => Readonly<Record<string, string>>>;
type SideName = keyof typeof SIDES;
const SIDE_NAMES = Object.keys(SIDES) as SideName[];

interface Load {
  readonly name: string;
  readonly way: Way;
  readonly round: Round;
}
const LOADS: readonly Load[] = [
  { name: 'SDK get', way: 'sdk', round: { operation: 'get', outstanding: 256, keys: KEYS, valueBytes: VALUE_BYTES } },
  { name: 'SDK set', way: 'sdk', round: { operation: 'set', outstanding: 256, keys: KEYS, valueBytes: VALUE_BYTES } },
  { name: 'unary Get', way: 'unary', round: { operation: 'get', outstanding: 32, keys: KEYS, valueBytes: VALUE_BYTES } },
];

/** Three clusters that ran side by side, all turns of a load in their order. */
interface SetResult {
  readonly turns: Readonly<Record<string, Readonly<Record<SideName, readonly MeasuredTurn[]>>>>;
  /** CPU time of services that nobody calls, in ms per second. */
  readonly idleMsPerSecond: Readonly<Record<SideName, number>>;
  /** Of one reading of all its services' metrics. */
  readonly scrapeCpuMs: number;
}

/** What tracing at its default and metrics cost, as CPU time of the services per operation. */
export const telemetrySection: Section = async (context) => {
  const { isQuick, print, cleanUp, signal } = context;
  if (Number.isNaN(cpuTimeMs([process.pid]))) return { checks: [], details: undefined, skipped: 'the CPU time of processes is read from /proc, which this system does not have' };
  const size = SIZES[isQuick ? 'quick' : 'full'];
  const receiver = await startOtlpReceiver();
  cleanUp.add(() => receiver.stop());
  print(
    `${size.sets} x ${size.turnsPerSet} turns of ${size.turnMs / 1000} s for each load, values of ${VALUE_BYTES} bytes, 256 outstanding through the SDK, 32 unary, for each cluster; ` +
      `three clusters of three nodes that run at the same time: traced (1 of ${1 / TRACE_RATIO} requests, ${TRACES_PER_SECOND} a second at most), untraced, and bare (ATOLL_METRICS=off)`,
  );
  const sets: SetResult[] = [];
  for (let number = 1; number <= size.sets; number += 1) {
    signal.throwIfAborted();
    const set = await runSet(context, receiver, size);
    sets.push(set);
    print(`set ${number}: idle ${SIDE_NAMES.map((side) => `${side} ${set.idleMsPerSecond[side].toFixed(0)}`).join(', ')} ms CPU per second; a scrape of all services ${set.scrapeCpuMs.toFixed(1)} ms CPU; ${setText(set)}`);
  }
  const spans = await receiver.requestSpans();
  await receiver.stop();
  const figures = LOADS.map(({ name }) => ({ name, tracing: overall(sets, name, 'tracing'), metrics: overall(sets, name, 'metrics') }));
  const cells = ({ onUs, offUs, median: middle, low, high, ratios }: Overhead): string[] => [`${onUs.toFixed(1)} us`, `${offUs.toFixed(1)} us`, ...[middle, low, high, Math.min(...ratios), Math.max(...ratios)].map((ratio) => `${ratio.toFixed(3)} x`)];
  print(tableText(['CPU per operation', 'on', 'off', 'median', 'quarter below', 'quarter above', 'least', 'most'], figures.flatMap(({ name, tracing, metrics }) => [[`tracing, ${name}`, ...cells(tracing)], [`metrics, ${name}`, ...cells(metrics)]])));

  const all = sets.flatMap(({ turns }) => Object.values(turns));
  const traced = all.flatMap((sides) => sides.traced).reduce((total, { operations }) => total + operations, 0);
  const failed = all.flatMap((sides) => SIDE_NAMES.flatMap((side) => sides[side])).reduce((total, turn) => total + turn.failed, 0);
  const seconds = all.flatMap((sides) => sides.traced).reduce((total, { elapsedMs }) => total + elapsedMs / 1000, 0);
  const spansMin = Math.floor(Math.min(TRACE_RATIO * traced, TRACES_PER_SECOND * seconds));
  print(`the collector got ${spans} spans of client requests; ${traced} operations were counted on traced clusters`);
  return {
    checks: [
      ...figures.flatMap(({ name, tracing, metrics }): Check[] => [
        atMost(`tracing at its default, ${name}: CPU per operation, on to off`, tracing.median, MAX.tracing),
        atMost(`metrics, ${name}: CPU per operation, on to off`, metrics.median, MAX.metrics),
      ]),
      { name: 'telemetry: spans of client requests that reached the collector', value: spans, text: String(spans), target: `>= ${spansMin}`, passed: spans >= spansMin },
      { name: 'telemetry: failed operations', value: failed, text: String(failed), target: '0', passed: failed === 0 },
    ],
    details: { figures, spans, sets },
  };
};

async function runSet(context: BenchContext, receiver: OtlpReceiver, size: (typeof SIZES)[keyof typeof SIZES]): Promise<SetResult> {
  const { signal } = context;
  const clusters = {} as Record<SideName, MeasuredCluster>;
  for (const side of SIDE_NAMES) clusters[side] = await MeasuredCluster.start(context, { env: SIDES[side](receiver), keys: KEYS, valueBytes: VALUE_BYTES });
  const onAll = <T>(work: (cluster: MeasuredCluster) => Promise<T>): Promise<T[]> => Promise.all(SIDE_NAMES.map((side) => work(clusters[side])));

  const emptyTurns = (): Record<SideName, MeasuredTurn[]> => ({ traced: [], untraced: [], bare: [] });
  const turns = Object.fromEntries(LOADS.map(({ name }) => [name, emptyTurns()]));
  // Code that is not warm costs several times as much: turn 0 is longer and not counted.
  for (let number = 0; number <= size.turnsPerSet; number += 1) {
    const durationMs = number === 0 ? size.warmUpMs : size.turnMs;
    for (const { name, way, round } of LOADS) {
      signal.throwIfAborted();
      const results = await onAll((cluster) => cluster.turn(way, { ...round, durationMs }));
      if (number > 0) for (const [index, side] of SIDE_NAMES.entries()) turns[name]![side].push(results[index]!);
    }
    if (number === 0) await onAll((cluster) => cluster.rest(size.restMs, signal));
    await clusters.untraced.readMetrics();
  }
  const perSide = (figure: (cluster: MeasuredCluster) => number): Record<SideName, number> => ({ traced: figure(clusters.traced), untraced: figure(clusters.untraced), bare: figure(clusters.bare) });
  const result = { turns, idleMsPerSecond: perSide((cluster) => cluster.idleMsPerSecond), scrapeCpuMs: clusters.untraced.scrapeCpuMs };
  for (const side of SIDE_NAMES) await clusters[side].stop();
  return result;
}

/** The overhead within one set. */
function overheadIn({ turns, idleMsPerSecond, scrapeCpuMs }: SetResult, load: string, feature: 'tracing' | 'metrics'): Overhead {
  const sides = turns[load]!;
  return feature === 'tracing'
    ? overheadOf(sides.traced, sides.untraced, { idle: idleMsPerSecond.untraced, charged: 0 })
    : overheadOf(sides.untraced, sides.bare, { idle: idleMsPerSecond.bare, charged: scrapeCpuMs / SCRAPE_INTERVAL_S });
}

/** Over all sets. */
const overall = (sets: readonly SetResult[], load: string, feature: 'tracing' | 'metrics'): Overhead => together(sets.map((set) => overheadIn(set, load, feature)));

const setText = (set: SetResult): string => LOADS.map(({ name }) => `${name} tracing ${overheadIn(set, name, 'tracing').median.toFixed(3)} x, metrics ${overheadIn(set, name, 'metrics').median.toFixed(3)} x`).join('; ');

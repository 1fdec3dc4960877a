import { ValueType, type HrTime } from '@opentelemetry/api';
import { emptyResource } from '@opentelemetry/resources';
import { AggregationTemporality, DataPointType, type CollectionResult, type MetricData, type MetricProducer } from '@opentelemetry/sdk-metrics';
import { Counter, DURATION_BOUNDS_MS, Family, Histogram, IdleCounter, IdleHistogram } from './instruments.ts';

export interface InstrumentOptions {
  readonly description: string;
  /** UCUM: `s`, `By`, `1`. The name ends in it: `_seconds`, `_bytes`. */
  readonly unit?: string;
}

export interface HistogramOptions extends InstrumentOptions {
  /** Ascending. Default: durations in milliseconds, 50 us to 10 s. */
  readonly bounds?: readonly number[];
  /** What recorded values and bounds are multiplied with when shown. Default 0.001 without `bounds` (ms shown as seconds), else 1. */
  readonly scale?: number;
}

/** One value of a gauge with its labels. */
export interface Reading {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/**
 * The metrics of one process. Names are Prometheus names, used once each, and stable: dashboards rely on
 * them. As a MetricProducer it hands everything to OpenTelemetry's readers, which expose or push it.
 */
export class Metrics implements MetricProducer {
  readonly #collectors = new Map<string, (time: Times) => MetricData>();
  readonly #startTime: HrTime = hrNow();
  readonly #isOn: boolean;

  /** `isOn` false: counters and histograms count nothing, and nothing is read. Default true. */
  constructor({ isOn = true }: { readonly isOn?: boolean } = {}) {
    this.#isOn = isOn;
  }

  /** A counter without labels; the name ends in `_total`. */
  counter(name: string, options: InstrumentOptions): Counter {
    return this.counterFamily(name, [], options).with();
  }

  counterFamily(name: string, labelNames: readonly string[], options: InstrumentOptions): Family<Counter> {
    const family = new Family(labelNames, () => (this.#isOn ? new Counter() : new IdleCounter()));
    this.#register(name, (time) => ({
      ...head(name, options),
      dataPointType: DataPointType.SUM,
      isMonotonic: true,
      dataPoints: Array.from(family.series(), ({ labels, instrument }) => ({ ...time, attributes: labels, value: instrument.value })),
    }));
    return family;
  }

  /** A histogram without labels. By default `record` takes milliseconds and the metric is shown in seconds. */
  histogram(name: string, options: HistogramOptions): Histogram {
    return this.histogramFamily(name, [], options).with();
  }

  histogramFamily(name: string, labelNames: readonly string[], options: HistogramOptions): Family<Histogram> {
    const bounds = options.bounds ?? DURATION_BOUNDS_MS;
    const scale = options.scale ?? (options.bounds === undefined ? 0.001 : 1);
    // Fifteen digits: 0.3 ms times 0.001 is 0.0003, not 0.00030000000000000003.
    const boundaries = bounds.map((bound) => Number((bound * scale).toPrecision(15)));
    const family = new Family(labelNames, () => (this.#isOn ? new Histogram(bounds) : new IdleHistogram(bounds)));
    this.#register(name, (time) => ({
      ...head(name, options),
      dataPointType: DataPointType.HISTOGRAM,
      dataPoints: Array.from(family.series(), ({ labels, instrument }) => ({
        ...time,
        attributes: labels,
        value: {
          buckets: { boundaries, counts: [...instrument.counts] },
          sum: instrument.sum * scale,
          count: instrument.counts.reduce((total, count) => total + count, 0),
        },
      })),
    }));
    return family;
  }

  /** A value that is read when somebody asks for the metrics. */
  gauge(name: string, options: InstrumentOptions, read: () => number): void {
    this.gaugeFamily(name, options, () => [{ labels: {}, value: read() }]);
  }

  gaugeFamily(name: string, options: InstrumentOptions, read: () => Iterable<Reading>): void {
    this.#register(name, (time) => ({
      ...head(name, options),
      dataPointType: DataPointType.GAUGE,
      dataPoints: Array.from(read(), ({ labels, value }) => ({ ...time, attributes: labels, value })),
    }));
  }

  /** A counter that somebody else keeps, such as the process's CPU time: read when asked for; it must never fall. */
  observedCounter(name: string, options: InstrumentOptions, read: () => Iterable<Reading>): void {
    this.#register(name, (time) => ({
      ...head(name, options),
      dataPointType: DataPointType.SUM,
      isMonotonic: true,
      dataPoints: Array.from(read(), ({ labels, value }) => ({ ...time, attributes: labels, value })),
    }));
  }

  /** A reading that throws is left out and reported among the errors; the others go on. */
  collect(): Promise<CollectionResult> {
    const time = { startTime: this.#startTime, endTime: hrNow() };
    const metrics: MetricData[] = [];
    const errors: unknown[] = [];
    for (const collect of this.#isOn ? this.#collectors.values() : []) {
      try {
        metrics.push(collect(time));
      } catch (error) {
        errors.push(error);
      }
    }
    return Promise.resolve({ resourceMetrics: { resource: emptyResource(), scopeMetrics: [{ scope: { name: 'atoll' }, metrics }] }, errors });
  }

  #register(name: string, collect: (time: Times) => MetricData): void {
    if (!/^[a-z][a-z0-9_]*$/.test(name)) throw new Error(`metric name ${name} must be of a-z, 0-9 and _`);
    if (this.#collectors.has(name)) throw new Error(`metric ${name} is registered twice`);
    this.#collectors.set(name, collect);
  }
}

interface Times {
  readonly startTime: HrTime;
  readonly endTime: HrTime;
}

function head(name: string, { description, unit }: InstrumentOptions) {
  return {
    descriptor: { name, description, unit: unit ?? '', valueType: ValueType.DOUBLE },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
  };
}

function hrNow(): HrTime {
  const now = Date.now();
  return [Math.floor(now / 1000), (now % 1000) * 1_000_000];
}

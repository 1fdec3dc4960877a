// Prometheus text as `/metrics` shows it, and what can be told from one reading or two.

export interface MetricSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;

/** One reading of a process's metrics. Lines that are no samples are passed over. */
export class MetricsText {
  readonly #samples = new Map<string, MetricSample[]>();

  constructor(text: string) {
    for (const line of text.split('\n')) {
      const match = LINE.exec(line);
      if (match === null) continue;
      const [, name = '', list = '', value = ''] = match;
      const labels = Object.fromEntries(Array.from(list.matchAll(LABEL), ([, label = '', content = '']) => [label, content.replace(/\\(.)/g, '$1')]));
      let samples = this.#samples.get(name);
      if (samples === undefined) this.#samples.set(name, (samples = []));
      samples.push({ name, labels, value: value === '+Inf' ? Infinity : Number(value) });
    }
  }

  samples(name: string, labels: Readonly<Record<string, string>> = {}): readonly MetricSample[] {
    const wanted = Object.entries(labels);
    return (this.#samples.get(name) ?? []).filter((sample) => wanted.every(([label, value]) => sample.labels[label] === value));
  }

  /** Of the first sample; undefined where there is none. */
  value(name: string, labels?: Readonly<Record<string, string>>): number | undefined {
    return this.samples(name, labels)[0]?.value;
  }

  /** Of all samples with these labels; 0 where there is none. */
  sum(name: string, labels?: Readonly<Record<string, string>>): number {
    return this.samples(name, labels).reduce((total, { value }) => total + value, 0);
  }

  /** The largest; undefined where there is none. */
  max(name: string, labels?: Readonly<Record<string, string>>): number | undefined {
    const values = this.samples(name, labels).map(({ value }) => value);
    return values.length === 0 ? undefined : Math.max(...values);
  }
}

/**
 * Quantile of a histogram between two readings, all labels together, as Prometheus counts it: in seconds for durations.
 * Undefined when nothing was recorded in between. `former` undefined: since the process began.
 */
export function quantileBetween(former: MetricsText | undefined, present: MetricsText, name: string, quantile: number): number | undefined {
  const countsOf = (text: MetricsText | undefined): Map<number, number> => {
    const counts = new Map<number, number>();
    for (const { labels, value } of text?.samples(`${name}_bucket`) ?? []) {
      const bound = labels['le'] === '+Inf' ? Infinity : Number(labels['le']);
      counts.set(bound, (counts.get(bound) ?? 0) + value);
    }
    return counts;
  };
  const before = countsOf(former);
  const buckets = Array.from(countsOf(present), ([bound, count]) => ({ bound, count: count - (before.get(bound) ?? 0) })).toSorted((a, b) => a.bound - b.bound);
  const total = buckets.at(-1)?.count ?? 0;
  if (total <= 0) return undefined;
  const rank = quantile * total;
  const index = buckets.findIndex(({ count }) => count >= rank);
  const { bound, count } = buckets[index]!;
  const below = buckets[index - 1] ?? { bound: 0, count: 0 };
  if (bound === Infinity) return below.bound;
  return below.bound + (bound - below.bound) * ((rank - below.count) / (count - below.count || 1));
}

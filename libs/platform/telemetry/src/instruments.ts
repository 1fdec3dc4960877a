// Instruments cheap enough for the data path: recording writes plain numbers; everything else happens when
// somebody asks for the metrics. OpenTelemetry's own instruments build an attribute key per record.

/** A number that only grows. */
export class Counter {
  value = 0;

  add(amount = 1): void {
    this.value += amount;
  }
}

/** Where metrics are off: stands for a counter and counts nothing. */
export class IdleCounter extends Counter {
  override add(): void {}
}

/**
 * Counts values in fixed buckets: bucket i holds values <= bounds[i], the last one the rest. Memory is
 * fixed; a record is a binary search and three additions.
 */
export class Histogram {
  readonly bounds: Float64Array;
  /** One more than bounds; not cumulative. */
  readonly counts: Float64Array;
  sum = 0;

  /** `bounds` ascending. */
  constructor(bounds: readonly number[]) {
    this.bounds = Float64Array.from(bounds);
    this.counts = new Float64Array(bounds.length + 1);
  }

  record(value: number): void {
    const { bounds } = this;
    let low = 0;
    let high = bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((bounds[middle] as number) < value) low = middle + 1;
      else high = middle;
    }
    (this.counts[low] as number) += 1;
    this.sum += value;
  }
}

/** Where metrics are off: stands for a histogram and counts nothing. */
export class IdleHistogram extends Histogram {
  override record(): void {}
}

/** From 50 microseconds to 10 s, closer where a cache answers. */
export const DURATION_BOUNDS_MS: readonly number[] = [
  0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000,
];

/** From 64 B to 64 MiB. */
export const BYTES_BOUNDS: readonly number[] = [64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864];

/** Most label sets of one family; further ones share one whose labels all say `other` (I10). */
export const SERIES_MAX = 1000;

/** One instrument per set of label values. Keep what `with` returns: it is a map look-up by a joined string. */
export class Family<Instrument> {
  readonly labelNames: readonly string[];
  readonly #create: () => Instrument;
  readonly #series = new Map<string, { readonly labels: Readonly<Record<string, string>>; readonly instrument: Instrument }>();

  constructor(labelNames: readonly string[], create: () => Instrument) {
    this.labelNames = labelNames;
    this.#create = create;
  }

  /** Label values in the order of the label names. They must be of low cardinality: never keys, rarely ids. */
  with(...values: readonly string[]): Instrument {
    const key = values.join('\0');
    const found = this.#series.get(key);
    if (found !== undefined) return found.instrument;
    if (this.#series.size >= SERIES_MAX && values.some((value) => value !== 'other')) {
      return this.with(...this.labelNames.map(() => 'other'));
    }
    const labels = Object.fromEntries(this.labelNames.map((name, index) => [name, values[index] ?? '']));
    const instrument = this.#create();
    this.#series.set(key, { labels, instrument });
    return instrument;
  }

  series(): Iterable<{ readonly labels: Readonly<Record<string, string>>; readonly instrument: Instrument }> {
    return this.#series.values();
  }
}

/** Samples in milliseconds, kept as they are: percentiles are exact. 8 bytes each. */
export class Latencies {
  #samples = new Float64Array(1024);
  #count = 0;
  #isSorted = true;

  get count(): number {
    return this.#count;
  }

  add(ms: number): void {
    if (this.#count === this.#samples.length) {
      const larger = new Float64Array(2 * this.#count);
      larger.set(this.#samples);
      this.#samples = larger;
    }
    this.#samples[this.#count] = ms;
    this.#count += 1;
    this.#isSorted = false;
  }

  /** The smallest sample that `percent` per cent of all are not above (nearest rank); NaN without samples. */
  percentile(percent: number): number {
    if (this.#count === 0) return NaN;
    if (!this.#isSorted) {
      this.#samples.subarray(0, this.#count).sort();
      this.#isSorted = true;
    }
    // Without the margin 99.9 per cent of 10,000 would be 9990.000000000001.
    const rank = Math.ceil((percent * this.#count) / 100 - 1e-6);
    return this.#samples[Math.min(Math.max(rank, 1), this.#count) - 1]!;
  }

  summary(): LatencySummary {
    return { p50: this.percentile(50), p90: this.percentile(90), p99: this.percentile(99), p999: this.percentile(99.9), max: this.percentile(100) };
  }
}

/** In milliseconds. */
export interface LatencySummary {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Middle of the sorted values; of an even number the mean of the two in the middle. NaN without values. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return NaN;
  const sorted = [...values].sort((left, right) => left - right);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

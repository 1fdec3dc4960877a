// Latencies in buckets of equal ratio, eight to an octave, so that a percentile is right to about 9 % whatever its size,
// for a few nanoseconds per value (Masson, Rim, Lee, "DDSketch", VLDB 2019, with the octave from the number's own bits).
// Old values fade: each interval that is closed weighs less than the one behind it.

const STEPS_PER_OCTAVE = 8;
/** From 1 us up, in powers of two: to 67 s. */
const OCTAVES = 26;
const BUCKETS = STEPS_PER_OCTAVE * OCTAVES;

export class LatencyWindow {
  readonly #fading: number;
  readonly #counts = new Float64Array(BUCKETS);

  /** `fading`: what the weight of all values is multiplied with when an interval ends, 0 (they are forgotten) to below 1. */
  constructor(fading: number) {
    this.#fading = fading;
  }

  record(ms: number): void {
    this.#counts[bucketOf(ms)]! += 1;
  }

  /** Takes in what another window holds. */
  add(other: LatencyWindow): void {
    for (let index = 0; index < BUCKETS; index += 1) this.#counts[index]! += other.#counts[index]!;
  }

  /** Values, weighted. */
  get weight(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** 99 of 100 values are at most this long, in ms; undefined without values. */
  get p99Ms(): number | undefined {
    const weight = this.weight;
    if (weight === 0) return undefined;
    let above = weight / 100;
    for (let index = BUCKETS - 1; index > 0; index -= 1) {
      above -= this.#counts[index]!;
      if (above < 0) return middleMs(index);
    }
    return middleMs(0);
  }

  endInterval(): void {
    for (let index = 0; index < BUCKETS; index += 1) this.#counts[index]! *= this.#fading;
  }

  clear(): void {
    this.#counts.fill(0);
  }
}

/** Steps within an octave are linear, as HdrHistogram's. */
function bucketOf(ms: number): number {
  const us = Math.min(ms * 1000, 2 ** 30) | 0;
  if (us < STEPS_PER_OCTAVE) return Math.max(0, us);
  const octave = 31 - Math.clz32(us);
  const step = (us >>> (octave - 3)) & (STEPS_PER_OCTAVE - 1);
  return Math.min(BUCKETS - 1, (octave - 2) * STEPS_PER_OCTAVE + step);
}

function middleMs(bucket: number): number {
  if (bucket < STEPS_PER_OCTAVE) return (bucket + 0.5) / 1000;
  const octave = Math.floor(bucket / STEPS_PER_OCTAVE) + 2;
  return (2 ** (octave - 3) * (STEPS_PER_OCTAVE + (bucket % STEPS_PER_OCTAVE) + 0.5)) / 1000;
}

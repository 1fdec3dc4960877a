import { SeededRandom } from '@atoll/core-runtime';
import { Latencies, median } from './latencies.ts';

const of = (...samples: number[]): Latencies => {
  const latencies = new Latencies();
  for (const sample of samples) latencies.add(sample);
  return latencies;
};

describe('Latencies', () => {
  it.each([
    [[7], 50, 7],
    [[7], 99.9, 7],
    [[1, 2, 3, 4], 50, 2],
    [[4, 3, 2, 1], 51, 3],
    [[4, 3, 2, 1], 100, 4],
    [[4, 3, 2, 1], 0, 1],
  ])('of %j: %d per cent are not above %d', (samples, percent, expected) => {
    expect(of(...samples).percentile(percent)).toBe(expected);
  });

  it('without samples has no percentiles', () => {
    expect(of().percentile(50)).toBeNaN();
    expect(of().count).toBe(0);
  });

  it('is exact for ten thousand samples in any order, also when samples come between readings', () => {
    const random = new SeededRandom(5);
    const latencies = new Latencies();
    const order = Array.from({ length: 10_000 }, (_, index) => index + 1).sort(() => (random.nextUint32() < 2 ** 31 ? -1 : 1));
    for (const sample of order.slice(0, 5000)) latencies.add(sample);
    latencies.percentile(50);
    for (const sample of order.slice(5000)) latencies.add(sample);
    expect(latencies.summary()).toEqual({ p50: 5000, p90: 9000, p99: 9900, p999: 9990, max: 10_000 });
  });
});

describe('median', () => {
  it.each([
    [[3, 1, 2], 2],
    [[4, 1, 2, 3], 2.5],
    [[5], 5],
  ])('of %j is %d', (values, expected) => expect(median(values)).toBe(expected));
});

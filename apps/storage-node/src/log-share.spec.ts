import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { shareLog, type LogDemand } from './log-share.ts';

const idle = (bytes: number): LogDemand => ({ bytes, isNeeded: false });
const needed = (bytes: number): LogDemand => ({ bytes, isNeeded: true });

describe('the share of the log that each replica keeps (R33)', () => {
  it.each<[string, LogDemand[], number[]]>([
    ['no replica', [], []],
    ['nobody is waited for: each keeps its own', [idle(5), idle(50)], [10, 10]],
    ['one is: it gets all that the others do not use', [idle(5), needed(5), idle(50)], [10, 85, 10]],
    ['two are: they share it', [idle(10), needed(5), needed(50)], [10, 45, 45]],
    ['all are', [needed(0), needed(0), needed(0), needed(0)], [25, 25, 25, 25]],
  ])('%s', (_name, demands, bounds) => {
    expect(shareLog(demands, { totalBytesMax: 100, eachBytesMax: 10 })).toEqual(bounds);
  });

  it('with more replicas than the total has room for, each keeps less', () => {
    expect(shareLog(Array.from({ length: 50 }, () => idle(10)), { totalBytesMax: 100, eachBytesMax: 10 })).toEqual(Array.from({ length: 50 }, () => 2));
  });

  it.each([1, 2, 3])('the bounds of logs that are used never exceed the total (I10; seed %i)', (seed) => {
    const random = new SeededRandom(seed);
    for (let round = 0; round < 200; round += 1) {
      const limits = { totalBytesMax: 1 + randomBelow(random, 10_000), eachBytesMax: 1 + randomBelow(random, 500) };
      const demands = Array.from({ length: 1 + randomBelow(random, 60) }, () => ({ bytes: randomBelow(random, 1000), isNeeded: randomBelow(random, 3) === 0 }));
      const bounds = shareLog(demands, limits);
      const used = bounds.reduce((sum, bound, index) => sum + (demands[index]!.isNeeded ? bound : Math.min(bound, demands[index]!.bytes)), 0);
      expect(used).toBeLessThanOrEqual(limits.totalBytesMax);
    }
  });
});

import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { PartitionClock } from './partition-clock.ts';

describe('PartitionClock (R23)', () => {
  it('reads 0 before anything set it, and the wall clock of its first leader', () => {
    const clock = new PartitionClock();
    expect(clock.read(50)).toBe(0);
    expect(clock.offsetMs(50, 7000)).toBe(0);
    expect(clock.lead(50, 7000)).toBe(7000);
    expect(clock.read(60)).toBe(7010);
  });

  it('makes a slow approach of a jump of the wall clock, either way', () => {
    for (const jumpMs of [3_600_000, -3_600_000]) {
      const clock = new PartitionClock();
      clock.lead(0, 1_000_000);
      let last = 0;
      for (let nowMs = 10; nowMs <= 10_000; nowMs += 10) last = clock.lead(nowMs, 1_000_000 + nowMs + jumpMs);
      expect(last - 1_010_000).toBeCloseTo(Math.sign(jumpMs) * 1000, -2);
      expect(clock.offsetMs(10_000, 1_010_000 + jumpMs)).toBeCloseTo(jumpMs * (1 - 1000 / 3_600_000), -3);
    }
  });

  it('comes to the wall clock and stays there', () => {
    const clock = new PartitionClock();
    clock.lead(0, 1_000_000);
    for (let nowMs = 10; nowMs <= 20_000; nowMs += 10) clock.lead(nowMs, 1_000_300 + nowMs);
    expect(clock.offsetMs(20_000, 1_020_300)).toBeCloseTo(0, 1);
  });

  it('takes back nothing that a reader saw, when it begins to bend after a long while without', () => {
    const clock = new PartitionClock();
    clock.follow(1000, 0);
    expect(clock.read(400)).toBe(1400);
    expect(clock.lead(400, 0)).toBe(1400);
    expect(clock.lead(800, 0)).toBe(1760);
  });

  it('goes on at the pace of the monotonic clock when its leader has lost the office', () => {
    const clock = new PartitionClock();
    clock.lead(0, 1000);
    clock.lead(10, 1_000_000);
    clock.follow(0, 20);
    const before = clock.read(20);
    expect(clock.read(1020) - before).toBe(1000);
  });

  it.each([1, 2, 3, 4, 5])('never goes back, whatever is called in which order (seed %i)', (seed) => {
    const random = new SeededRandom(seed);
    const clock = new PartitionClock();
    let nowMs = 100;
    let seen = 0;
    for (let step = 0; step < 2000; step += 1) {
      nowMs += randomBelow(random, 30) - 2;
      const wallMs = 10_000 + nowMs + randomBelow(random, 5000) - 2500;
      const before = clock.read(nowMs);
      const roll = randomBelow(random, 3);
      if (roll === 0) clock.lead(nowMs, wallMs);
      if (roll === 1) clock.follow(wallMs, nowMs);
      const after = clock.read(nowMs);
      expect(after).toBeGreaterThanOrEqual(before);
      seen = Math.max(seen, after);
    }
    expect(seen).toBeGreaterThan(0);
  });
});

import { overheadOf, type Turn } from './overhead.ts';

const turn = (operations: number, cpuMs: number): Turn => ({ operations, elapsedMs: 2000, cpuMs });

describe('the overhead of a feature', () => {
  it('is that of an operation, with what both sides do when idle taken off', () => {
    // Idle 100 ms per second, so 200 ms of each turn: 2000 ms and 2200 ms of work for as many operations.
    const { median, onUs, offUs } = overheadOf([turn(1000, 2400)], [turn(1000, 2200)], { idle: 100, charged: 0 });
    expect([median, onUs, offUs]).toEqual([1.1, 2200, 2000]);
  });

  it('counts operations, not time: a side that does more of them may use more', () => {
    expect(overheadOf([turn(2000, 3000)], [turn(1000, 1500)], { idle: 0, charged: 0 }).median).toBe(1);
  });

  it('charges what happens beside the turns, by their time', () => {
    expect(overheadOf([turn(1000, 2000)], [turn(1000, 2000)], { idle: 0, charged: 10 }).median).toBeCloseTo(1.01);
  });

  it('is the middle of the alternations, and tells how far they lie apart', () => {
    const off = Array.from({ length: 5 }, () => turn(1000, 1000));
    const on = [1300, 900, 1000, 1100, 1020].map((cpuMs) => turn(1000, cpuMs));
    expect(overheadOf(on, off, { idle: 0, charged: 0 })).toMatchObject({ ratios: [1.3, 0.9, 1, 1.1, 1.02], median: 1.02, low: 1, high: 1.1 });
  });
});

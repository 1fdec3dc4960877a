import { AdaptiveRate } from './adaptive-rate.ts';

const MB = 1e6;
const OPTIONS = { impactMax: 2, floorBytes: 4 * MB, ceilingBytes: 1000 * MB };
const BOUND = 64 * MB;
const STEP_MS = 500;

/** Clients whose p99 is 2 ms, and beyond `harmlessBytes` grows with the rate. */
function run(options: { intervals: number; harmlessBytes: number; boundBytes?: number; impactMax?: number; baselineMs?: number | undefined; idleP99Ms?: (nowMs: number) => number }) {
  const { intervals, harmlessBytes, boundBytes = BOUND, impactMax = OPTIONS.impactMax, idleP99Ms = () => 2 } = options;
  const baselineMs = 'baselineMs' in options ? options.baselineMs : 2;
  const rate = new AdaptiveRate({ ...OPTIONS, impactMax });
  const rates: number[] = [];
  const p99s: number[] = [];
  let bytes = 0;
  for (let index = 0; index < intervals; index += 1) {
    const nowMs = index * STEP_MS;
    const effective = bytes === 0 && index > 0 ? OPTIONS.ceilingBytes : bytes;
    const p99Ms = idleP99Ms(nowMs) * (1 + Math.max(0, effective - harmlessBytes) / harmlessBytes);
    bytes = rate.next({ nowMs, boundBytes, p99Ms, baselineMs });
    rates.push(bytes);
    p99s.push(p99Ms);
  }
  return { rates, p99s, rate };
}

describe('the rate of snapshots beside clients', () => {
  it('goes to the bound at once where nobody is served, or the throttle is off', () => {
    const rate = new AdaptiveRate(OPTIONS);
    expect(rate.next({ nowMs: 0, boundBytes: BOUND, p99Ms: undefined, baselineMs: undefined })).toBe(BOUND);
    expect(rate.next({ nowMs: 500, boundBytes: 0, p99Ms: undefined, baselineMs: 2 })).toBe(0);
    expect(run({ intervals: 1, harmlessBytes: 1, impactMax: 0 }).rates).toEqual([BOUND]);
  });

  it('grows by a factor up to the bound when the clients feel nothing', () => {
    expect(run({ intervals: 9, harmlessBytes: 1000 * MB }).rates.map((rate) => rate / MB)).toEqual([4, 6, 9, 13.5, 20.25, 30.375, 45.5625, 64, 64]);
  });

  it('without a bound it ends without a limit', () => {
    expect(run({ intervals: 16, harmlessBytes: 1e12, boundBytes: 0 }).rates.at(-1)).toBe(0);
  });

  it('settles where the p99 is about the factor: mostly within, never far beyond, and not far below the best rate', () => {
    // Twice the p99 of before is met at 40 MB/s.
    const { rates, p99s } = run({ intervals: 200, harmlessBytes: 20 * MB });
    const later = p99s.slice(20);
    expect(later.filter((ms) => ms > 4).length / later.length).toBeLessThan(0.25);
    expect(Math.max(...later)).toBeLessThan(4.5);
    const mean = rates.slice(20).reduce((sum, bytes) => sum + bytes, 0) / 180;
    expect(mean).toBeGreaterThan(0.7 * 40 * MB);
    expect(mean).toBeLessThan(40 * MB);
  });

  it('begins so low, and grows in such steps, that a machine which bears far less than the bound is not overrun', () => {
    // Twice the p99 of before is met at 8 MB/s, an eighth of the bound; each fifth step of the bound would be beyond it.
    const { rates, p99s } = run({ intervals: 200, harmlessBytes: 4 * MB, boundBytes: 0 });
    expect(rates[0]).toBe(OPTIONS.floorBytes);
    expect(Math.max(...p99s.slice(10))).toBeLessThan(5);
    expect(p99s.slice(10).filter((ms) => ms > 4).length / 190).toBeLessThan(0.25);
  });

  it('what they felt once and feel no more does not hold it down for long', () => {
    // A stall of a second, when the rate had come to 9 MB/s.
    const { rates } = run({ intervals: 30, harmlessBytes: 1000 * MB, idleP99Ms: (nowMs) => (nowMs >= 1500 && nowMs < 2500 ? 9 : 2) });
    expect(rates[4]).toBe(4 * MB);
    expect(rates.at(-1)).toBe(BOUND);
  });

  it('never falls below the floor, so that each transfer ends', () => {
    const { rates } = run({ intervals: 10, harmlessBytes: 1000 });
    expect(Math.min(...rates)).toBe(OPTIONS.floorBytes);
  });

  it('a bound below the floor holds', () => {
    expect(Math.max(...run({ intervals: 50, harmlessBytes: 20 * MB, boundBytes: MB }).rates)).toBe(MB);
  });

  it('learns at the floor what the clients have without the transfer when nobody was served before', () => {
    const { rates } = run({ intervals: 20, harmlessBytes: 40 * MB, baselineMs: undefined });
    expect(rates.slice(0, 3)).toEqual([4 * MB, 4 * MB, 4 * MB]);
    expect(Math.max(...rates)).toBeGreaterThan(40 * MB);
  });

  it('a p99 that has another cause does not hold it at the floor for ever', () => {
    const { rates } = run({ intervals: 200, harmlessBytes: 1000 * MB, idleP99Ms: (nowMs) => (nowMs < 3000 ? 2 : 9) });
    expect(rates[15]).toBe(OPTIONS.floorBytes);
    expect(rates.at(-1)).toBe(BOUND);
  });

  it('does not slow down for what nobody feels', () => {
    const rate = new AdaptiveRate(OPTIONS);
    for (let nowMs = 0; nowMs < 5000; nowMs += STEP_MS) rate.next({ nowMs, boundBytes: BOUND, p99Ms: 0.9, baselineMs: 0.1 });
    expect(rate.next({ nowMs: 5000, boundBytes: BOUND, p99Ms: 0.9, baselineMs: 0.1 })).toBe(BOUND);
  });

  it('the next transfer begins anew', () => {
    const { rate } = run({ intervals: 50, harmlessBytes: 20 * MB });
    rate.end();
    expect(rate.next({ nowMs: 0, boundBytes: BOUND, p99Ms: 2, baselineMs: 2 })).toBe(4 * MB);
  });
});

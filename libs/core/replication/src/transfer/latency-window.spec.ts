import { LatencyWindow } from './latency-window.ts';

describe('a window of latencies', () => {
  it.each([0.0005, 0.004, 0.05, 0.3, 1, 2.5, 7, 40, 1000, 12_345])('tells a p99 of %d ms to about a tenth', (ms) => {
    const window = new LatencyWindow(0);
    for (let index = 0; index < 97; index += 1) window.record(ms / 100);
    for (let index = 0; index < 3; index += 1) window.record(ms);
    expect(Math.abs(window.p99Ms! - ms)).toBeLessThan(Math.max(ms * 0.1, 0.001));
  });

  it('knows nothing without values', () => {
    expect(new LatencyWindow(0).p99Ms).toBeUndefined();
  });

  it('one value of a hundred is beyond the p99, two are not', () => {
    const window = new LatencyWindow(0);
    for (let index = 0; index < 99; index += 1) window.record(1);
    window.record(100);
    expect(window.p99Ms).toBeLessThan(1.2);
    window.record(100);
    expect(window.p99Ms).toBeGreaterThan(90);
  });

  it('values fade with each interval', () => {
    const window = new LatencyWindow(0.5);
    for (let index = 0; index < 100; index += 1) window.record(100);
    for (let interval = 0; interval < 14; interval += 1) {
      for (let index = 0; index < 100; index += 1) window.record(1);
      window.endInterval();
    }
    expect(window.p99Ms).toBeLessThan(1.2);
    window.clear();
    expect(window.weight).toBe(0);
  });

  it('takes in what another one holds, and any number at all', () => {
    const [window, other] = [new LatencyWindow(0), new LatencyWindow(0)];
    for (const ms of [-1, 0, 1e12, Number.NaN]) other.record(ms);
    window.add(other);
    expect(window.weight).toBe(4);
  });
});

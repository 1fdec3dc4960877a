import { RateMeter } from './rate-meter.ts';

describe('RateMeter', () => {
  it('knows nothing before there are two moments', () => {
    const meter = new RateMeter();
    expect(meter.perSecond(0)).toBe(0);
    meter.add(100, 1000);
    expect(meter.perSecond(1000)).toBe(0);
  });

  it('tells the rate of the last seconds, not that of the whole time', () => {
    const meter = new RateMeter();
    for (let second = 0; second <= 10; second += 1) meter.add(second * 100, second * 1000);
    for (let second = 11; second <= 20; second += 1) meter.add(1000 + (second - 10) * 500, second * 1000);
    expect(meter.perSecond(20_000)).toBe(500);
  });

  it('falls while nothing more comes', () => {
    const meter = new RateMeter();
    meter.add(0, 0);
    meter.add(1000, 1000);
    expect([1000, 2000, 10_000].map((nowMs) => meter.perSecond(nowMs))).toEqual([1000, 500, 100]);
  });

  it('begins anew when a copy does', () => {
    const meter = new RateMeter();
    meter.add(0, 0);
    meter.add(9000, 1000);
    meter.add(10, 2000);
    meter.add(110, 3000);
    expect(meter.perSecond(3000)).toBe(100);
  });
});

import { ByteRate } from './byte-rate.ts';

describe('the pace of a transfer', () => {
  it('waits as long as the bytes take at the rate', () => {
    const rate = new ByteRate(1000, 0);
    expect(rate.delayMs(500, 0)).toBe(500);
    expect(rate.delayMs(500, 500)).toBe(500);
  });

  it('adds up what came too fast', () => {
    const rate = new ByteRate(1000, 0);
    rate.delayMs(500, 0);
    expect(rate.delayMs(500, 100)).toBe(900);
  });

  it('does not save up time that was not used: no burst behind a pause', () => {
    const rate = new ByteRate(1000, 0);
    expect(rate.delayMs(500, 60_000)).toBe(500);
  });

  it('0 is no limit', () => {
    expect(new ByteRate(0, 0).delayMs(1e9, 0)).toBe(0);
  });
});

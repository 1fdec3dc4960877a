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

  it('another rate holds for what is still to be waited for', () => {
    const rate = new ByteRate(1000, 0);
    rate.delayMs(1000, 0);
    rate.setRate(4000, 500);
    // 500 bytes are left of the first second, and 500 come on top.
    expect(rate.delayMs(500, 500)).toBe(250);
    rate.setRate(0, 600);
    expect(rate.delayMs(500, 600)).toBe(0);
    rate.setRate(1000, 700);
    expect(rate.delayMs(100, 700)).toBe(100);
  });

  it('one that waits does not wait any more when the limit goes', async () => {
    const rate = new ByteRate(1, performance.now());
    const startMs = performance.now();
    const waiting = rate.wait(3600, AbortSignal.timeout(60_000));
    rate.setRate(0, performance.now());
    await waiting;
    expect(performance.now() - startMs).toBeLessThan(30_000);
  });

  it('who waits is called off by its signal', async () => {
    const stop = new AbortController();
    const waiting = new ByteRate(1, performance.now()).wait(3600, stop.signal);
    stop.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
  });
});

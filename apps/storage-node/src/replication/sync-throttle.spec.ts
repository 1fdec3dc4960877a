import { MIB } from '@atoll/core-runtime';
import { Metrics } from '@atoll/platform-telemetry';
import { ClientLatency } from './client-latency.ts';
import { SyncThrottle, THROTTLE_INTERVAL_MS } from './sync-throttle.ts';

const BOUND = 64 * MIB;

function begin(options: { syncMaxImpact?: number } = {}) {
  const latency = new ClientLatency();
  const throttle = new SyncThrottle({ syncBytesPerSecond: BOUND, syncMaxImpact: options.syncMaxImpact ?? 2, latency, metrics: new Metrics() });
  let nowMs = 0;
  return {
    throttle,
    now: () => nowMs,
    /** Some intervals in which clients wait `p99Ms`, or there are none. */
    pass: (intervals: number, p99Ms?: number): number => {
      for (let interval = 0; interval < intervals; interval += 1) {
        if (p99Ms !== undefined) for (let index = 0; index < 100; index += 1) latency.recordOperation(p99Ms);
        nowMs += THROTTLE_INTERVAL_MS;
        throttle.tick(nowMs);
      }
      return throttle.rate.bytesPerSecond / MIB;
    },
  };
}

describe('what full syncs from a node may send in a second', () => {
  it('is the bound while nobody is served, at once', () => {
    const { throttle, pass, now } = begin();
    pass(3);
    throttle.begin(now());
    expect(throttle.rate.bytesPerSecond).toBe(BOUND);
    expect(pass(1)).toBe(64);
  });

  it('rises from the floor while clients feel nothing, falls while their p99 is beyond twice what it was, and not below the floor', () => {
    const { throttle, pass, now } = begin();
    pass(10, 3);
    throttle.begin(now());
    expect(throttle.rate.bytesPerSecond).toBe(2 * MIB);
    expect(pass(9, 4)).toBe(64);
    expect(pass(2, 20)).toBeLessThan(40);
    expect(pass(10, 20)).toBe(2);
    expect(pass(10, 3)).toBeGreaterThan(20);
  });

  it('what clients waited while one was under way does not count as before', () => {
    const { throttle, pass, now } = begin();
    pass(10, 3);
    throttle.begin(now());
    pass(10, 20);
    throttle.end(now());
    pass(11, 3);
    throttle.begin(now());
    expect(pass(9, 3)).toBe(64);
    expect(pass(2, 20)).toBeLessThan(64);
  });

  it('stays when one follows another within seconds, as partitions of a backup do: each alone is too short for the way up from the floor', () => {
    const { throttle, pass, now } = begin();
    pass(10, 3);
    throttle.begin(now());
    const before = pass(5, 3);
    throttle.end(now());
    pass(4, 3);
    throttle.begin(now());
    expect(before).toBeGreaterThan(8);
    expect(throttle.rate.bytesPerSecond / MIB).toBe(before);
    throttle.end(now());
    pass(11, 3);
    throttle.begin(now());
    expect(throttle.rate.bytesPerSecond).toBe(2 * MIB);
  });

  it('the lag of the event loop counts, too: a read shows nothing else', () => {
    const latency = new ClientLatency();
    for (let index = 0; index < 100; index += 1) {
      latency.recordOperation(0.1);
      latency.recordLoopLag(8);
    }
    latency.endInterval(false);
    expect(latency.p99Ms).toBeGreaterThan(7);
    expect(latency.baselineMs).toBe(latency.p99Ms);
  });

  it('a few operations are no clients', () => {
    const latency = new ClientLatency();
    for (let index = 0; index < 5; index += 1) latency.recordOperation(1);
    latency.endInterval(false);
    expect([latency.p99Ms, latency.baselineMs]).toEqual([undefined, undefined]);
  });

  it('clients that are gone count no longer, however many they were', () => {
    const { throttle, pass, now } = begin();
    for (let interval = 0; interval < 500; interval += 1) pass(1, 3);
    pass(1);
    throttle.begin(now());
    expect([throttle.isSparing, throttle.rate.bytesPerSecond]).toEqual([false, BOUND]);
  });

  it('with impact 0 only the bound counts', () => {
    const { throttle, pass, now } = begin({ syncMaxImpact: 0 });
    pass(5, 3);
    throttle.begin(now());
    expect(pass(5, 100)).toBe(64);
  });

  it('weighs entries beside their bytes while clients are served, so that the floor is one for small values, too', () => {
    const { throttle, pass, now } = begin();
    throttle.begin(now());
    expect([throttle.isSparing, throttle.weigh(1000, 10)]).toEqual([false, 1000]);
    pass(1, 3);
    expect([throttle.isSparing, throttle.weigh(1000, 10)]).toEqual([true, 11_240]);
    throttle.end(now());
    pass(10);
    expect([throttle.isSparing, throttle.weigh(1000, 10)]).toEqual([false, 1000]);
  });

  it('keeps to the bound of the coordinator while it slows down and speeds up', () => {
    const { throttle, pass, now } = begin();
    throttle.begin(now());
    throttle.limit({ bytesPerSecond: 8 * MIB, validMs: 10_000 }, now());
    expect(throttle.rate.bytesPerSecond).toBe(8 * MIB);
    expect(pass(19)).toBe(8);
    expect(pass(1)).toBe(64);
  });
});

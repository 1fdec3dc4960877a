import { syntheticTrace, traceText } from './synthetic-trace.ts';
import { TraceParser } from './trace.ts';

const OPTIONS = { seed: 11, requests: 5000, keys: 400, valueBytesMax: 4096 };

describe('syntheticTrace', () => {
  const trace = [...syntheticTrace(OPTIONS)];

  it('gives the same trace for the same seed, and another for another', () => {
    expect([...syntheticTrace(OPTIONS)]).toEqual(trace);
    expect([...syntheticTrace({ ...OPTIONS, seed: 12 })]).not.toEqual(trace);
  });

  it('keeps to its bounds, and a key keeps its size', () => {
    const sizes = new Map<string, number>();
    for (const { key, valueBytes } of trace) {
      expect(valueBytes).toBeGreaterThanOrEqual(512);
      expect(valueBytes).toBeLessThanOrEqual(4096);
      expect(sizes.get(key) ?? valueBytes).toBe(valueBytes);
      sizes.set(key, valueBytes);
    }
    expect(sizes.size).toBeLessThanOrEqual(OPTIONS.keys);
    expect(sizes.size).toBeGreaterThan(OPTIONS.keys / 2);
  });

  it('reads as often as the sample, and asks for some keys far more often than for others', () => {
    const reads = trace.filter(({ kind }) => kind === 'get').length;
    expect(reads / trace.length).toBeCloseTo(0.41, 1);
    const counts = new Map<string, number>();
    for (const { key } of trace) counts.set(key, (counts.get(key) ?? 0) + 1);
    expect(Math.max(...counts.values())).toBeGreaterThan((10 * trace.length) / OPTIONS.keys);
  });

  it('is read back from its text as it was', () => {
    const parser = new TraceParser();
    const read = traceText(trace)
      .split('\n')
      .map((line) => parser.parse(line))
      .filter((request) => request !== undefined);
    expect(read).toEqual(trace);
  });
});

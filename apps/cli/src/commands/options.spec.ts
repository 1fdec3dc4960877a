import { byteRate, requestId } from './options.ts';

describe('byteRate', () => {
  it.each([
    ['0', 0],
    ['1234', 1234],
    ['50MB', 50_000_000],
    ['50MiB', 52_428_800],
    ['1.5 GB/s', 1_500_000_000],
    ['64KiB/s', 65_536],
    ['8kB', 8000],
  ])('%s is %d bytes per second', (text, bytes) => expect(byteRate(text)).toBe(bytes));

  it.each(['', 'fast', '-1', '50mb', '50 M', '1e6', '50MB/h', '99999999GB', '0.5'])('refuses "%s"', (text) => {
    expect(() => byteRate(text)).toThrow('It must be bytes per second');
  });
});

describe('requestId', () => {
  it('takes what a request may be named', () => expect(requestId('night_2026-11-21')).toBe('night_2026-11-21'));
  it.each(['', 'a b', 'ü', 'x'.repeat(65)])('refuses "%s"', (text) => expect(() => requestId(text)).toThrow('It must be 1 to 64 characters'));
});

import { isValue, makeValue } from './value-pattern.ts';

const SIZES = [0, 1, 7, 8, 9, 100, 512, 69_632, 9 * 1024 * 1024];

describe('values', () => {
  it.each(SIZES)('of %i bytes are recognised', (bytes) => {
    for (const key of ['1', '42932745', 'key with ünicode']) {
      for (const writeNumber of [1, 2, 1000]) expect(isValue(makeValue(key, writeNumber, bytes), key, writeNumber, bytes)).toBe(true);
    }
  });

  it.each(SIZES.filter((bytes) => bytes >= 7))('of %i bytes are not taken for those of another write, key or size', (bytes) => {
    const value = makeValue('42', 5, bytes);
    expect(isValue(value, '42', 4, bytes)).toBe(false);
    expect(isValue(value, '43', 5, bytes)).toBe(false);
    expect(isValue(value, '42', 5, bytes + 1)).toBe(false);
    expect(isValue(value, '42', 5, bytes - 1)).toBe(false);
  });

  it.each([0, 7, 8, 50, 99])('a byte changed at %i is noticed', (at) => {
    const value = makeValue('42', 5, 100);
    value[at]! ^= 1;
    expect(isValue(value, '42', 5, 100)).toBe(false);
  });

  it('a value that begins near the end of the pool goes on at its start', () => {
    // 4096 writes of 4 KiB: about four of them run over the end of the pool of 4 MiB.
    for (let writeNumber = 1; writeNumber <= 4096; writeNumber += 1) expect(isValue(makeValue('x', writeNumber, 4096), 'x', writeNumber, 4096)).toBe(true);
  });
});

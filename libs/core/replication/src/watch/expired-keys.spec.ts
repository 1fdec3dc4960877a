import { ExpiredKeys } from './expired-keys.ts';

const keys = (...names: string[]): Buffer[] => names.map((name) => Buffer.from(name));
const read = (expired: ExpiredKeys, seq: number): string[] => expired.keysOf(seq).map(String);

describe('keys that expiry records removed', () => {
  it('are kept per record', () => {
    const expired = new ExpiredKeys();
    expired.add(3, keys('a', 'bb'), 0);
    expired.add(9, keys(), 0);
    expired.add(12, keys('c'.repeat(4096)), 0);
    expect([3, 9, 12, 5].map((seq) => read(expired, seq))).toEqual([['a', 'bb'], [], ['c'.repeat(4096)], []]);
    expect(expired.forgottenSeq).toBe(0);
  });

  it('go, oldest first, beyond the bound (I10), and it is known since when', () => {
    const expired = new ExpiredKeys(30);
    for (let seq = 1; seq <= 10; seq += 1) expired.add(seq, keys('0123456789'), 0);
    expect(expired.bytes).toBe(24);
    expect(expired.forgottenSeq).toBe(8);
    expect([9, 10].map((seq) => read(expired, seq))).toEqual([['0123456789'], ['0123456789']]);
  });

  it('go with the log, and nothing counts as forgotten then', () => {
    const expired = new ExpiredKeys();
    expired.add(3, keys('a'), 0);
    expired.add(9, keys('b'), 5);
    expect(read(expired, 3)).toEqual([]);
    expect(expired.forgottenSeq).toBe(0);
  });

  it('one record beyond the bound is forgotten at once', () => {
    const expired = new ExpiredKeys(4);
    expired.add(3, keys('far too long'), 0);
    expect([expired.bytes, expired.forgottenSeq]).toEqual([0, 3]);
  });
});

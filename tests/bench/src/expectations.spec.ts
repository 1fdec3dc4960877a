import { Expectations } from './expectations.ts';

describe('Expectations', () => {
  it('a confirmed write is the one value expected, and its absence is a loss', () => {
    const expectations = new Expectations();
    const first = expectations.planWrite('k', 100);
    first.confirm();
    const second = expectations.planWrite('k', 60);
    second.confirm();
    expect(expectations.check('k', second.value)).toBe('expected');
    expect(expectations.check('k', first.value)).toBe('wrong');
    expect(expectations.check('k', undefined)).toBe('missing');
    expect([...expectations.keys()]).toEqual(['k']);
    expect(expectations.liveCount).toBe(1);
  });

  it('a write that failed plainly did not happen (R20)', () => {
    const expectations = new Expectations();
    const failed = expectations.planWrite('k', 100);
    expect(expectations.check('k', undefined)).toBe('absent');
    expect(expectations.check('k', failed.value)).toBe('wrong');
    expect([...expectations.keys()]).toEqual([]);
  });

  it('a write in doubt may be there or not, also behind a later one', () => {
    const expectations = new Expectations();
    const doubtful = expectations.planWrite('k', 100);
    doubtful.doubt();
    expect(expectations.check('k', undefined)).toBe('absent');
    expect(expectations.check('k', doubtful.value)).toBe('expected');
    const later = expectations.planWrite('k', 100);
    later.confirm();
    expect(expectations.check('k', later.value)).toBe('expected');
    expect(expectations.check('k', doubtful.value)).toBe('expected');
    expect(expectations.check('k', undefined)).toBe('missing');
  });

  it('a key that was never written has nothing', () => {
    const expectations = new Expectations();
    expect(expectations.check('k', undefined)).toBe('absent');
    expect(expectations.check('k', Buffer.from('x'))).toBe('wrong');
  });
});

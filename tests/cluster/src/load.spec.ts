import { judge } from './load.ts';

type Kind = 'set' | 'delete';

/** Acknowledged: set 5. In doubt: what `doubtful` says. Issued: up to `issued`. */
const read = (value: string | undefined, doubtful: readonly [number, Kind][] = [], issued = 5 + doubtful.length): boolean =>
  judge({ key: 'k', acknowledged: 5 }, value, new Map<number, Kind>([[5, 'set'], ...doubtful]), issued) === undefined;

describe('what a load takes for right', () => {
  it.each<[string, boolean, boolean]>([
    ['the acknowledged write', read('5'), true],
    ['an acknowledged write that is missing', read(undefined), false],
    ['an older write', read('4'), false],
    ['a write that was never issued', read('6'), false],
    ['a write in doubt that happened', read('6', [[6, 'set']]), true],
    ['a write in doubt that did not happen', read('5', [[6, 'set']]), true],
    ['a deletion in doubt that happened', read(undefined, [[6, 'delete']]), true],
    ['nothing, where only a set is in doubt', read(undefined, [[6, 'set']]), false],
    ['a write that failed plainly between two others (R20)', read('6', [[7, 'set']], 7), false],
    ['a write that began while the read was under way', read('7', [[6, 'set']], 7), true],
  ])('%s', (_name, isRight, expected) => {
    expect(isRight).toBe(expected);
  });

  it('nothing but absence, before the first write', () => {
    const nothing = new Map<number, Kind>();
    expect(judge({ key: 'k', acknowledged: 0 }, undefined, nothing, 0)).toBeUndefined();
    expect(judge({ key: 'k', acknowledged: 0 }, '1', nothing, 0)).toContain('k holds 1');
  });
});

import { blankCommentsAndStrings } from './source-text.ts';

describe('blankCommentsAndStrings', () => {
  it.each([
    ['a // b', 'a     '],
    ['a /* b\nc */ d', 'a     \n     d'],
    [`x('a\\'b', 1)`, `x('    ', 1)`],
    ['`a ${b + `c ${d}`} e` + f', '`  ${b + `  ${d}`}  ` + f'],
    ['`${ {a: 1}.a }` + b', '`${ {a: 1}.a }` + b'],
    ['a / b / c', 'a / b / c'],
    [`x = /[/'"]a/g; y`, `x = /      /g; y`],
    ['return /a/.test(b)', 'return / /.test(b)'],
    [`'open\nnext`, `'    \nnext`],
    ['/* open', '       '],
  ])('%j', (source, expected) => {
    const blanked = blankCommentsAndStrings(source);
    expect(blanked).toHaveLength(source.length);
    expect(blanked).toBe(expected);
  });
});

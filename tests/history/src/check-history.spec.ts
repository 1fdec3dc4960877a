import { checkHistory } from './check-history.ts';
import { drawnHistory } from './drawn-history.ts';

const GOOD: Readonly<Record<string, string>> = {
  'nothing happened': '',
  'reads see the write before them': `
    a: [set 1] [get 1] [get 1]`,
  'a read beside a write sees the old value or the new one': `
    a: [set 1]  [set 2            ]
    b:            [get 1] [get 2]`,
  'two writes side by side, in the order that the reader saw': `
    a: [set 1      ]
    b:  [set 2     ]
    c:              [get 1] [get 1]`,
  'a write of unknown outcome may take effect much later': `
    a: [set 1] [set 2 ?
    b:                   [get 1] [get 1] [get 2] [get 2]`,
  'or never': `
    a: [set 1] [set 2 ?
    b:                   [get 1] [get 1] [get 1]`,
  'a write that failed is not there': `
    a: [set 1] [set 2 ! [get 1]`,
  'a delete, and a write after it': `
    a: [set 1] [del yes] [get -] [del no] [set 2] [get 2]`,
  'IF_ABSENT takes effect once': `
    a: [add 1 yes ]
    b:  [add 2 no  ]
    c:               [get 1]`,
  'increments side by side': `
    a: [inc 1 = 2  ]
    b:  [inc 1 = 1 ]  [get 2]`,
  'increments of unknown outcome, of which two took effect': `
    a: [inc 1 ?
    b: [inc 1 ?
    c: [inc 1 ?
    d:            [get 0- ! [get 2] [inc 5 = 7]`,
  'a compare-and-set over the version that was read': `
    a: [set 1 @5]  [cas 5 2 yes @6]  [get 2 @6]
    b:                               [cas 5 3 no]`,
  'a version that nobody was told may be any': `
    a: [set 1 ?
    b:           [get 1 @9]  [cas 9 2 yes @10]`,
  'a touch makes another version of the same value': `
    a: [set 1 @5] [touch yes @6] [get 1 @6]`,
  'an unknown delete between two reads': `
    a: [set 1] [del ?
    b:                  [get 1] [get -]`,
};

const BAD: Readonly<Record<string, string>> = {
  'a lost write': `
    a: [set 1] [get -]`,
  'a stale read': `
    a: [set 1] [set 2]
    b:                  [get 1]`,
  'a read out of nowhere': `
    a: [set 1] [get 3]`,
  'time runs back between two reads': `
    a: [set 1] [set 2           ]
    b:           [get 2] [get 1]`,
  'a value that comes back: 1, 2, 1 (R21)': `
    a: [set 1 ?
    b:           [get 1] [set 2] [get 2] [get 1]`,
  'a write that failed is seen': `
    a: [set 1] [set 2 ! [get 2]`,
  'a delete that is undone': `
    a: [set 1] [del yes] [get -] [get 1]`,
  'IF_ABSENT applied twice': `
    a: [add 1 yes ]
    b:  [add 2 yes ]`,
  'an increment applied twice': `
    a: [inc 1 = 1] [inc 1 ?
    b:                       [get 3]`,
  'an increment lost': `
    a: [inc 1 = 1]
    b:              [inc 1 = 1]`,
  'two readers that disagree about the order of two writes': `
    a: [set 1                         ]
    b: [set 2                         ]
    c:     [get 1]    [get 2]    [get 1]
    d:     [get 2]    [get 1]    [get 2]`,
  'a compare-and-set over another version': `
    a: [set 1 @5]  [set 2 @6]  [cas 5 3 yes @7]`,
  'the same value of another version': `
    a: [set 1 @5] [get 1 @6]`,
  'an unknown write that is seen before it was asked for': `
    a:           [set 1 ?
    b: [get 1]`,
  'one unknown write that is used twice': `
    a: [set 1] [set 2 ?
    b:                   [get 2] [set 3] [get 2]`,
};

describe('checkHistory', () => {
  it.each(Object.entries(GOOD))('accepts: %s', (_name, drawing) => {
    expect(checkHistory(drawnHistory(drawing))).toEqual([]);
  });

  it.each(Object.entries(BAD))('refuses: %s', (_name, drawing) => {
    expect(checkHistory(drawnHistory(drawing)).map(({ kind }) => kind)).toEqual(['not-linearizable']);
  });

  it('judges each key alone, and names those with a problem', () => {
    const one = drawnHistory('a: [set 1] [get 1]');
    const other = drawnHistory('a: [set 1] [get 2]').map((operation) => ({ ...operation, key: 'other' }));
    expect(checkHistory([...one, ...other]).map(({ key }) => key)).toEqual(['other']);
  });

  it('lets entries vanish where the caller says so, and never come back', () => {
    const mayVanish = () => true;
    expect(checkHistory(drawnHistory('a: [set 1] [get -] [add 2 yes] [get 2]'), { mayVanish })).toEqual([]);
    expect(checkHistory(drawnHistory('a: [set 1] [get -] [get 1]'), { mayVanish })).toHaveLength(1);
  });

  it('tells the story: what does not fit, what the key held, what was asked before', () => {
    const [problem] = checkHistory(drawnHistory('a: [set 1] [set 2] [get 1]'));
    expect(problem?.story.split('\n')).toEqual([
      'no order explains this operation:',
      '  [19, 26] a read k  -> 1',
      'before it the key held one of: 2; the operations up to then:',
      '  [3, 10] a set k value=1 condition=NONE -> applied=true',
      '  [11, 18] a set k value=2 condition=NONE -> applied=true',
      '  [19, 26] a read k  -> 1',
    ]);
  });

  it('is undecided, not stuck, when too much is open (I10)', () => {
    const lines = Array.from({ length: 12 }, (_, index) => `c${index}: [inc ${2 ** index} ?`);
    const [problem] = checkHistory(drawnHistory([...lines, 'd:           [get 4095]'].join('\n')), { configurationsMax: 500 });
    expect(problem?.kind).toBe('undecided');
  });

  it('takes hundreds of unknown writes of one key in its stride', () => {
    const drawing = Array.from({ length: 300 }, (_, index) => `a: ${' '.repeat(index * 30)}[set ${index} ? [get ${index - (index % 7)}]`).join('\n');
    const startedMs = performance.now();
    expect(checkHistory(drawnHistory(drawing))).toEqual([]);
    expect(performance.now() - startedMs).toBeLessThan(5000);
  });
});

import { firstMissing, readTranscript } from './transcript.ts';

const TEXT = `# Out
<!-- fails -->
\`\`\`
$ atoll node remove node-1
atoll: no
\`\`\`
<!-- clients stop -->
<!-- not run: no machine -->
\`\`\`
$ ssh there
\`\`\`
\`\`\`
not a command
$ echo a \\
    b
a b
$ f() {
    echo 1 \\
      2
  }
$ f
1 2
\`\`\`
<!-- played instead: echo 3 -->
\`\`\`
$ echo 4
\`\`\`
1. In a list:

   <!-- fails -->
   \`\`\`
   $ f() {
       false
     }
   $ f
   no
   \`\`\`
`;

describe('a transcript', () => {
  it('has the commands of a document with what they print, and says what is special about them', () => {
    expect(readTranscript(TEXT)).toEqual([
      { kind: 'heading', title: 'Out', line: 1 },
      { kind: 'step', step: { command: 'atoll node remove node-1', expected: ['atoll: no'], fails: true, line: 4 } },
      { kind: 'clients', run: false, line: 7 },
      { kind: 'left out', reason: 'no machine', commands: ['ssh there'], line: 9 },
      { kind: 'step', step: { command: 'echo a b', expected: ['a b'], fails: false, line: 14 } },
      { kind: 'step', step: { command: 'f() {\necho 1 \\\n2\n}', expected: [], fails: false, line: 17 } },
      { kind: 'step', step: { command: 'f', expected: ['1 2'], fails: false, line: 21 } },
      { kind: 'step', step: { command: 'echo 3', expected: [], fails: false, line: 25 } },
      { kind: 'step', step: { command: 'f() {\nfalse\n}', expected: [], fails: true, line: 32 } },
      { kind: 'step', step: { command: 'f', expected: ['no'], fails: true, line: 35 } },
    ]);
  });

  it.each<[printed: string, expected: string]>([
    ['node-1  UP   4m12s  22', 'node-1 UP 3s 7'],
    ['moved 1.3 MiB in 4s', 'moved 12 B in 250ms'],
    ['a\nnode-2 is drained: it leads 0 partitions\nb', 'node-2 is drained: it leads 3 partitions'],
    ['1,000,000 of 2,000,000', '5 of 7'],
    ['2026-11-22T10:05:11.123Z JOIN', '2026-01-01T00:00:00.000Z JOIN'],
    ['0.2.0: router-1 (router-1:7400)', '0.2.0: router-1 ...'],
  ])('%j is what was expected: %j', (printed, expected) => {
    expect(firstMissing([expected], printed)).toBeUndefined();
  });

  it.each<[printed: string, expected: string]>([
    ['node-1 UP 4m12s', 'node-2 UP 4m12s'],
    ['0.2.0: router-1', '0.1.0: router-1'],
    ['1.3 MiB', '1.3 s'],
    ['PROBLEM nodes', 'ok nodes'],
  ])('%j is not what was expected: %j', (printed, expected) => {
    expect(firstMissing([expected], printed)).toBe(expected);
  });

  it('is in order', () => {
    expect(firstMissing(['a', '...', 'c'], 'a\nb\nc')).toBeUndefined();
    expect(firstMissing(['c', 'a'], 'a\nb\nc')).toBe('a');
  });
});

import type { KeyAction, KeyAnswer, KeyOperation } from './operation.ts';

/**
 * A history of one key as a drawing. A line per client; columns are time; brackets are call and return:
 *
 *   a: [set 1  ]       [get 2]
 *   b:     [set 2 ?
 *
 * `]` ends an operation that was answered, `?` one of unknown outcome, `!` one that certainly failed. In brackets:
 * `get V` (`-` for absent), `set V`, `add V yes|no` (IF_ABSENT), `put V yes|no` (IF_PRESENT), `cas VERSION V yes|no`,
 * `del`, `del yes|no`, `inc DELTA = V` (from 0), `touch yes|no`; a trailing `@VERSION` is the version that was told.
 */
export function drawnHistory(drawing: string): KeyOperation[] {
  return drawing
    .split('\n')
    .filter((line) => line.trim() !== '')
    .flatMap((line) => {
      const client = line.slice(0, line.indexOf(':')).trim();
      return [...line.matchAll(/\[([^\]?!]*)([\]?!])/g)].map((match): KeyOperation => {
        const { action, answer } = parseAsked(match[1]!.trim());
        const outcome = match[2] === ']' ? { kind: 'ok' as const, answer } : { kind: match[2] === '?' ? ('unknown' as const) : ('failed' as const) };
        return { client, key: 'k', calledAt: match.index, returnedAt: match.index + match[0].length, action, outcome };
      });
    });
}

function parseAsked(text: string): { action: KeyAction; answer: KeyAnswer } {
  const words = text.split(/\s+/);
  const version = words.at(-1)?.startsWith('@') === true ? words.pop()!.slice(1) : undefined;
  const [verb, first = '', second = '', third = ''] = words;
  const applied = (word: string): boolean | undefined => (word === '' ? undefined : word === 'yes');
  switch (verb) {
    case 'get':
      return { action: { kind: 'read' }, answer: { value: first === '-' ? undefined : first, version } };
    case 'set':
      return { action: { kind: 'set', value: first, condition: 'NONE' }, answer: { applied: true, version } };
    case 'add':
      return { action: { kind: 'set', value: first, condition: 'IF_ABSENT' }, answer: { applied: applied(second), version } };
    case 'put':
      return { action: { kind: 'set', value: first, condition: 'IF_PRESENT' }, answer: { applied: applied(second), version } };
    case 'cas':
      return { action: { kind: 'set', value: second, condition: 'IF_VERSION', expectedVersion: first }, answer: { applied: applied(third), version } };
    case 'del':
      return { action: { kind: 'delete' }, answer: { applied: applied(first) } };
    case 'touch':
      return { action: { kind: 'touch' }, answer: { applied: applied(first), version } };
    case 'inc':
      return { action: { kind: 'increment', delta: BigInt(first), initial: 0n }, answer: { value: third === '' ? undefined : third, version } };
    default:
      throw new Error(`a drawing says ${JSON.stringify(text)}`);
  }
}

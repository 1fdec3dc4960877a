import { evaluateWrite } from './evaluate-write.ts';
import type { WriteCommand } from './write-command.ts';

const NOW_MS = 1000;
const version = { generation: 2, epoch: 5, seq: 12 };
const entry = (value: string, expiresAtMs = 0) => ({ value: Buffer.from(value), version, expiresAtMs });
const put = (value: string, expiresAtMs = 0) => ({ kind: 'put', value: Buffer.from(value), expiresAtMs });
const set = (condition: 'NONE' | 'IF_ABSENT' | 'IF_PRESENT' | 'IF_VERSION', expectedVersion?: typeof version): WriteCommand => ({
  kind: 'set',
  value: Buffer.from('new'),
  expiresAtMs: 7000,
  condition,
  expectedVersion,
});

describe('Set', () => {
  it.each([
    ['NONE over nothing', set('NONE'), undefined, true],
    ['NONE over an entry', set('NONE'), entry('old'), true],
    ['IF_ABSENT over nothing', set('IF_ABSENT'), undefined, true],
    ['IF_ABSENT over an entry', set('IF_ABSENT'), entry('old'), false],
    ['IF_ABSENT over an entry that expires now', set('IF_ABSENT'), entry('old', NOW_MS), true],
    ['IF_ABSENT over an entry that expires a millisecond later', set('IF_ABSENT'), entry('old', NOW_MS + 1), false],
    ['IF_PRESENT over nothing', set('IF_PRESENT'), undefined, false],
    ['IF_PRESENT over an entry', set('IF_PRESENT'), entry('old'), true],
    ['IF_PRESENT over an expired entry', set('IF_PRESENT'), entry('old', 1), false],
    ['IF_VERSION over nothing', set('IF_VERSION', version), undefined, false],
    ['IF_VERSION over that version', set('IF_VERSION', { ...version }), entry('old'), true],
    ['IF_VERSION over that version, expired', set('IF_VERSION', version), entry('old', 1), false],
    ['IF_VERSION over another seq', set('IF_VERSION', { ...version, seq: 11 }), entry('old'), false],
    ['IF_VERSION over another epoch', set('IF_VERSION', { ...version, epoch: 4 }), entry('old'), false],
    ['IF_VERSION of an older generation (R3)', set('IF_VERSION', { ...version, generation: 1 }), entry('old'), false],
    ['IF_VERSION without a version', set('IF_VERSION'), entry('old'), false],
  ])('%s', (_, command, current, applied) => {
    const evaluation = evaluateWrite(command, current, NOW_MS);
    const isLive = current !== undefined && !(current.expiresAtMs > 0 && current.expiresAtMs <= NOW_MS);
    const answer = { kind: 'set', applied, current: isLive ? version : undefined };
    expect(evaluation).toEqual(applied ? { kind: 'mutation', mutation: put('new', 7000), answer } : { kind: 'noop', answer });
  });
});

describe('Delete', () => {
  it.each([
    ['nothing', undefined, undefined, { found: false, applied: false }],
    ['an entry', entry('old'), undefined, { found: true, applied: true }],
    ['an expired entry', entry('old', NOW_MS), undefined, { found: false, applied: false }],
    ['the expected version', entry('old'), version, { found: true, applied: true }],
    ['another version', entry('old'), { ...version, seq: 1 }, { found: true, applied: false }],
    ['nothing, with an expected version', undefined, version, { found: false, applied: false }],
  ])('%s', (_, current, expectedVersion, expected) => {
    const evaluation = evaluateWrite({ kind: 'delete', expectedVersion }, current, NOW_MS);
    expect(evaluation.kind).toBe(expected.applied ? 'mutation' : 'noop');
    expect(evaluation).toMatchObject({ answer: { kind: 'delete', ...expected } });
  });
});

describe('Increment', () => {
  const increment = (delta: bigint, initial = 0n): WriteCommand => ({ kind: 'increment', delta, initial, expiresAtMs: 7000 });

  it.each([
    ['creates initial + delta with its own expiry', increment(5n, 10n), undefined, 15n, 7000],
    ['creates anew over an expired entry', increment(1n), entry('41', NOW_MS), 1n, 7000],
    ['adds, and the expiry stays', increment(1n), entry('41', 3000), 42n, 3000],
    ['adds to an entry that never expires', increment(1n), entry('41'), 42n, 0],
    ['subtracts below zero', increment(-50n), entry('8'), -42n, 0],
    ['reaches the largest int64', increment(1n), entry('9223372036854775806'), 9223372036854775807n, 0],
    ['reaches the smallest int64', increment(-1n), entry('-9223372036854775807'), -9223372036854775808n, 0],
  ])('%s', (_, command, current, value, expiresAtMs) => {
    expect(evaluateWrite(command, current, NOW_MS)).toEqual({
      kind: 'mutation',
      mutation: put(value.toString(), expiresAtMs),
      answer: { kind: 'increment', value, expiresAtMs },
    });
  });

  it.each(['', ' 1', '1 ', '+1', '01', '-0', '-', '1.0', '1e3', '0x10', 'ten', '\u0661', '9223372036854775808', '123456789012345678901'])(
    'refuses the value %j as no integer',
    (text) => {
      expect(evaluateWrite(increment(1n), entry(text), NOW_MS)).toEqual({ kind: 'refused', reason: 'VALUE_NOT_INTEGER' });
    },
  );

  it.each([
    [increment(1n), entry('9223372036854775807')],
    [increment(-1n), entry('-9223372036854775808')],
    [increment(2n ** 62n, 2n ** 62n), undefined],
  ])('refuses to overflow', (command, current) => {
    expect(evaluateWrite(command, current, NOW_MS)).toEqual({ kind: 'refused', reason: 'INTEGER_OVERFLOW' });
  });
});

describe('Touch', () => {
  it.each([
    ['nothing', undefined, { kind: 'noop', answer: { kind: 'touch', applied: false, expiresAtMs: 0 } }],
    ['an expired entry, which stays expired (I7)', entry('v', NOW_MS), { kind: 'noop', answer: { kind: 'touch', applied: false, expiresAtMs: 0 } }],
    ['an entry', entry('v', 3000), { kind: 'mutation', mutation: put('v', 9000), answer: { kind: 'touch', applied: true, expiresAtMs: 9000 } }],
  ])('%s', (_, current, expected) => {
    expect(evaluateWrite({ kind: 'touch', expiresAtMs: 9000 }, current, NOW_MS)).toEqual(expected);
  });
});

describe('Merge', () => {
  const merge = (expiresAtMs: number, of?: Partial<typeof version>): WriteCommand => ({ kind: 'merge', value: Buffer.from('archived'), expiresAtMs, version: of && { ...version, ...of } });
  it.each([
    ['over nothing', merge(0), undefined, 'written'],
    ['over an expired entry', merge(0), entry('old', NOW_MS), 'written'],
    ['over an entry of unknown age, which stays', merge(0), entry('old'), 'kept'],
    ['over an older entry', merge(7000, { seq: 13 }), entry('old'), 'written'],
    ['over one of an earlier epoch', merge(0, { epoch: 6, seq: 1 }), entry('old'), 'written'],
    ['over the very entry that was archived, since touched', merge(0, {}), entry('archived', 9000), 'kept'],
    ['over a newer entry', merge(0, { seq: 11 }), entry('old'), 'kept'],
    ['over one of a later generation, whatever its seq (R3)', merge(0, { generation: 1, seq: 99 }), entry('old'), 'kept'],
    ['over the same value and expiry, whatever the versions', merge(7000, { seq: 13 }), entry('archived', 7000), 'same'],
    ['of what has expired, over nothing (I7)', merge(NOW_MS), undefined, 'expired'],
    ['of what has expired, over an older entry', merge(1, { seq: 13 }), entry('old'), 'expired'],
  ])('%s', (_, command, current, outcome) => {
    const answer = { kind: 'merge', applied: outcome === 'written', outcome };
    const { expiresAtMs } = command as { expiresAtMs: number };
    expect(evaluateWrite(command, current, NOW_MS)).toEqual(outcome === 'written' ? { kind: 'mutation', mutation: put('archived', expiresAtMs), answer } : { kind: 'noop', answer });
  });
});

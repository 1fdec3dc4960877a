import { AtollError, invalidArgument } from '@atoll/core-errors';
import { usageError } from '../cli-error.ts';
import { bytesJson, expiryText, versionText } from './entry-text.ts';
import { explainError } from './explain-error.ts';
import { bytesText, durationText } from './quantities.ts';
import { printable, renderTable } from './table.ts';

describe('renderTable', () => {
  it('makes each column as wide as its widest cell, numbers flush right', () => {
    const table = renderTable([{ heading: 'NODE' }, { heading: 'LEADS', numeric: true }, { heading: 'ZONE' }], [
      ['node-1', 7, 'a'],
      ['n', 12_345, ''],
    ]);
    expect(table).toBe(['NODE    LEADS  ZONE', 'node-1      7  a', 'n       12345'].join('\n'));
  });

  it('shows the headings when there are no rows', () => {
    expect(renderTable([{ heading: 'A' }, { heading: 'B' }], [])).toBe('A  B');
  });

  it('lets no data move the cursor', () => {
    expect(renderTable([{ heading: 'K' }], [['\u001b[2Ja\nb']])).toBe('K\n\\x1b[2Ja\\x0ab');
    expect(printable('ümläut 猫')).toBe('ümläut 猫');
  });
});

describe('quantities', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [1_610_612_736, '1.5 GiB'],
    [200 * 1024 * 1024, '200 MiB'],
  ])('%d bytes are %s', (bytes, text) => expect(bytesText(bytes)).toBe(text));

  it.each([
    [-5, '0s'],
    [59_999, '59s'],
    [723_000, '12m03s'],
    [11_220_000, '3h07m'],
    [190_800_000, '2d05h'],
  ])('%d ms are %s', (ms, text) => expect(durationText(ms)).toBe(text));

  it('keeps bytes that are no text', () => {
    expect(bytesJson('value', Buffer.from('grün'))).toEqual({ value: 'grün' });
    expect(bytesJson('value', Buffer.from([0xff, 0]))).toEqual({ valueBase64: '/wA=' });
    expect(versionText(Buffer.from([1, 255]))).toBe('01ff');
    expect(expiryText(undefined)).toBe('never');
    expect(expiryText(0)).toBe('1970-01-01T00:00:00.000Z');
  });
});

describe('explainError', () => {
  it.each([
    ['bad input', invalidArgument('ttl_ms', 'must not be negative'), 'INVALID_ARGUMENT: ttl_ms: must not be negative (field: ttl_ms)', 2],
    ['not found', new AtollError('KEYSPACE_NOT_FOUND', 'there is no keyspace x'), 'KEYSPACE_NOT_FOUND: there is no keyspace x', 1],
    ['not reachable', new AtollError('PEER_UNAVAILABLE', 'no route'), 'PEER_UNAVAILABLE: no route', 3],
    ['too slow', new AtollError('DEADLINE_EXCEEDED', 'too late'), 'DEADLINE_EXCEEDED: too late', 3],
    ['of unknown fate', new AtollError('WRITE_IN_DOUBT', 'it may have happened'), 'WRITE_IN_DOUBT: it may have happened', 1],
    ['no such migration', new AtollError('MIGRATION_NOT_FOUND', 'there is no migration m'), 'MIGRATION_NOT_FOUND: there is no migration m; atoll migrate list shows the known ones', 1],
    ['usage', usageError('give a value'), 'give a value', 2],
    ['a bug', new TypeError('x is not a function'), 'x is not a function', 1],
    ['not even an error', 'text', 'text', 1],
  ])('%s: text without a stack, and an exit code', (_case, error, text, exitCode) => {
    expect(explainError(error)).toEqual({ text, exitCode });
  });

  it.each([
    ['MIGRATION_CONFLICT', 'can be waited for or cancelled'],
    ['CAPACITY_SHORT', '--dry-run'],
    ['CUT_OVER_REFUSED', 'atoll migrate show'],
  ] as const)('%s says what to do', (reason, hint) => {
    expect(explainError(new AtollError(reason, 'no')).text).toContain(hint);
  });

  it('shows what came over the wire without its control characters', () => {
    expect(explainError(new AtollError('INTERNAL', '\u001b[31mred')).text).toBe('INTERNAL: \\x1b[31mred');
  });
});

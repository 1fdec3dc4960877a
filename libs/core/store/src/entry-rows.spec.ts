import { KIB, SeededRandom, VALUE_BYTES_MAX, randomBelow } from '@atoll/core-runtime';
import { OUTSIDE_VALUE_BYTES_MIN } from './entry-layout.ts';
import { decodeRows, encodeRows } from './entry-rows.ts';
import type { StoredEntry } from './partition-store.ts';

const SEED = 20_261_123;

function entry(key: string | Buffer, value: Buffer, changes: Partial<StoredEntry> = {}): StoredEntry {
  return { key: Buffer.from(key), value, version: { generation: 3, epoch: 7, seq: 1 }, expiresAtMs: 0, ...changes };
}

const plain = (entries: readonly StoredEntry[]): unknown[] => entries.map(({ key, value, version, expiresAtMs }) => ({ key: Buffer.from(key).toString('hex'), value: value.toString('hex'), version, expiresAtMs }));

describe(`rows of entries (seed ${SEED})`, () => {
  it('give back what was written, whatever it is', () => {
    const random = new SeededRandom(SEED);
    const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, () => randomBelow(random, 256)));
    const entries = [
      entry('empty', Buffer.alloc(0)),
      entry(bytes(4096), bytes(3)),
      entry('late', Buffer.from('v'), { version: { generation: 2 ** 32 - 3, epoch: 2 ** 32 - 1, seq: 2 ** 48 - 1 }, expiresAtMs: 4_102_444_800_123 }),
      ...Array.from({ length: 200 }, () => entry(bytes(1 + randomBelow(random, 40)), bytes(randomBelow(random, 300)), { version: { generation: 1, epoch: randomBelow(random, 99), seq: randomBelow(random, 2 ** 31) } })),
    ];
    const decoded = decodeRows(encodeRows(entries));
    expect(plain(decoded)).toEqual(plain(entries));
    expect(decoded.some(({ isApart }) => isApart)).toBe(false);
    expect(decodeRows(encodeRows([]))).toEqual([]);
  });

  it('name values that are apart by their length', () => {
    const entries = [entry('small', Buffer.from('v')), entry('large', Buffer.alloc(5000, 'x')), entry('last', Buffer.from('w'))];
    const rows = encodeRows(entries, ({ length }) => length > 4096);
    expect(rows.length).toBeLessThan(200);
    expect(decodeRows(rows).map(({ key, value, isApart }) => [Buffer.from(key).toString(), value.length, isApart])).toEqual([['small', 1, false], ['large', 5000, true], ['last', 1, false]]);
  });

  it('tell of deletes only to those who mind them', () => {
    const rows = encodeRows([entry('kept', Buffer.from('v')), { ...entry('gone', Buffer.alloc(0)), isDeleted: true }]);
    expect(decodeRows(rows, { mayDelete: true }).map(({ key, isDeleted }) => [Buffer.from(key).toString(), isDeleted])).toEqual([['kept', false], ['gone', true]]);
    expect(() => decodeRows(rows)).toThrow('rows of entries are broken: one tells of a delete');
  });

  it('do not stay in memory for a value that a store keeps as it is', () => {
    const entries = [entry('kept', Buffer.alloc(OUTSIDE_VALUE_BYTES_MIN, 'x')), entry('other', Buffer.alloc(200 * KIB, 'y'))];
    const [kept] = decodeRows(encodeRows(entries));
    expect(kept!.value.buffer.byteLength).toBe(OUTSIDE_VALUE_BYTES_MIN);
  });

  it.each<[string, (rows: Buffer) => Buffer]>([
    ['a header that is cut short', (rows) => rows.subarray(0, 20)],
    ['a value that is cut short', (rows) => rows.subarray(0, -1)],
    ['a key longer than what is there', (rows) => (rows.writeUInt16LE(4096, 22), rows)],
    ['a value above the largest', (rows) => (rows.writeUInt16LE(2 ** 15 + 1, 22), rows.writeUInt32LE(VALUE_BYTES_MAX + 1, 24), rows)],
  ])('refuse %s', (_, damage) => {
    expect(() => decodeRows(damage(encodeRows([entry('k', Buffer.from('value'))])))).toThrow('rows of entries are broken');
  });
});

import { SeededRandom, randomBelow } from '@atoll/core-runtime';
import { decodeEntry, encodeEntry, encodedBytes, entryBytesAt, entryPositionAt, type LogEntry } from './log-entry.ts';

const encoded = (entry: LogEntry): Buffer => {
  const bytes = Buffer.alloc(encodedBytes(entry));
  expect(encodeEntry(entry, bytes, 0)).toBe(bytes.length);
  return bytes;
};

const opId = { clientId: Buffer.from('client-1'), counter: 2 ** 40 + 3 };
const base = { epoch: 7, seq: 5, stampMs: 1000, opId: undefined, evicted: [] };

// docs/design/log-format.md shows the same entries.
const GOLDEN: [string, LogEntry, string][] = [
  ['marker', { ...base, operation: { kind: 'marker' } }, '16000000 05 07000000 050000000000 0000000000408f40 00 0000'],
  ['office', { ...base, operation: { kind: 'office' } }, '16000000 04 07000000 050000000000 0000000000408f40 00 0000'],
  [
    'put',
    { ...base, seq: 2 ** 32 + 5, operation: { kind: 'put', key: Buffer.from('k'), value: Buffer.from('value'), expiresAtMs: 1000 } },
    '26000000 01 07000000 050000000100 0000000000408f40 00 0000 0100 6b 0000000000408f40 76616c7565',
  ],
  [
    'delete with op id and evicted keys',
    { ...base, opId, evicted: [Buffer.from('a'), Buffer.from('bc')], operation: { kind: 'delete', key: Buffer.from('k') } },
    '2e000000 02 07000000 050000000000 0000000000408f40 08 636c69656e742d31 030000000001 0200 0100 61 0200 6263 0100 6b',
  ],
  [
    'unchanged, and what was met',
    { ...base, opId, operation: { kind: 'unchanged', key: Buffer.from('k'), current: { epoch: 3, seq: 4 } } },
    '31000000 06 07000000 050000000000 0000000000408f40 08 636c69656e742d31 030000000001 0000 0100 6b 03000000 040000000000',
  ],
  [
    'unchanged, of no entry',
    { ...base, operation: { kind: 'unchanged', key: Buffer.from('k'), current: undefined } },
    '23000000 06 07000000 050000000000 0000000000408f40 00 0000 0100 6b 00000000 000000000000',
  ],
  [
    'a fence of a lock by name and nothing else',
    { ...base, operation: { kind: 'fence' }, fence: { lock: { kind: 'name', name: 'n' }, token: 9, isShared: true } },
    '20000000 87 07000000 050000000000 0000000000408f40 00 0000 01 090000000000 0100 6e',
  ],
  [
    'delete under a lock on a range',
    { ...base, operation: { kind: 'delete', key: Buffer.from('k') }, fence: { lock: { kind: 'range', range: { start: { high: 1, low: 2 }, end: undefined } }, token: 9, isShared: false } },
    '30000000 82 07000000 050000000000 0000000000408f40 00 0000 02 090000000000 01000000 02000000 00000000 00000000 0100 6b',
  ],
  [
    'the place that a copy has come to',
    { ...base, operation: { kind: 'copied', position: { source: 3, phase: 'COPYING', origin: { generation: 2, epoch: 9, seq: 2 ** 32 + 4 }, stampMs: 1000, next: { high: 5, low: 6 } } } },
    '39000000 08 07000000 050000000000 0000000000408f40 00 0000 03000000 01 02000000 09000000 040000000100 0000000000408f40 05000000 06000000',
  ],
  [
    'a copy that follows',
    { ...base, operation: { kind: 'copied', position: { source: 0, phase: 'FOLLOWING', origin: { generation: 1, epoch: 1, seq: 7 }, stampMs: 1000, next: undefined } } },
    '39000000 08 07000000 050000000000 0000000000408f40 00 0000 00000000 02 01000000 01000000 070000000000 0000000000408f40 00000000 00000000',
  ],
  [
    'expire up to a hash',
    { ...base, operation: { kind: 'expire', from: { high: 1, low: 2 }, to: { high: 3, low: 4 }, watermarkMs: 1000 } },
    '2f000000 03 07000000 050000000000 0000000000408f40 00 0000 01000000 02000000 01 03000000 04000000 0000000000408f40',
  ],
  [
    'expire to the end',
    { ...base, operation: { kind: 'expire', from: { high: 1, low: 2 }, to: undefined, watermarkMs: 1000 } },
    '2f000000 03 07000000 050000000000 0000000000408f40 00 0000 01000000 02000000 00 00000000 00000000 0000000000408f40',
  ],
];

describe('the encoding of log entries (R18, docs/design/log-format.md)', () => {
  it.each(GOLDEN)('%s', (_name, entry, hex) => {
    const bytes = encoded(entry);
    expect(bytes.toString('hex')).toBe(hex.replaceAll(' ', ''));
    expect(decodeEntry(bytes, 0)).toEqual(entry);
    expect(entryPositionAt(bytes, 0)).toEqual({ epoch: entry.epoch, seq: entry.seq });
    expect(entryBytesAt(bytes, 0)).toBe(bytes.length);
  });

  it.each([1, 2, 3])('round trips, side by side, up to the largest numbers (seed %i)', (seed) => {
    const random = new SeededRandom(seed);
    const bytesOf = (max: number): Buffer => Buffer.alloc(randomBelow(random, max + 1), randomBelow(random, 256));
    const entries = Array.from({ length: 300 }, (): LogEntry => {
      const kind = randomBelow(random, 4);
      const key = Buffer.alloc(1 + randomBelow(random, 4096), 'k');
      return {
        epoch: randomBelow(random, 2 ** 32),
        seq: randomBelow(random, 2) === 0 ? randomBelow(random, 1000) : 2 ** 48 - 1 - randomBelow(random, 1000),
        stampMs: randomBelow(random, 2 ** 32) * 1000.5,
        opId: randomBelow(random, 2) === 0 ? undefined : { clientId: Buffer.alloc(8 + randomBelow(random, 9), 'c'), counter: 2 ** 48 - 1 - randomBelow(random, 9) },
        evicted: Array.from({ length: randomBelow(random, 4) }, () => bytesOf(4096)),
        operation:
          kind === 0
            ? { kind: 'put', key, value: bytesOf(5000), expiresAtMs: randomBelow(random, 2) * 1_700_000_000_000 }
            : kind === 1
              ? { kind: 'delete', key }
              : kind === 2
                ? { kind: 'expire', from: { high: 2 ** 32 - 1, low: randomBelow(random, 2 ** 32) }, to: undefined, watermarkMs: 5 }
                : { kind: 'office' },
      };
    });
    const bytes = Buffer.alloc(entries.reduce((sum, entry) => sum + encodedBytes(entry), 0));
    let at = 0;
    for (const entry of entries) at = encodeEntry(entry, bytes, at);
    expect(at).toBe(bytes.length);
    at = 0;
    for (const entry of entries) {
      // Field by field for what is cheap to compare, and all of it by its encoding.
      const { evicted, operation, ...rest } = decodeEntry(bytes, at);
      expect({ ...rest, kind: operation.kind }).toEqual({ epoch: entry.epoch, seq: entry.seq, stampMs: entry.stampMs, opId: entry.opId, kind: entry.operation.kind });
      expect(encoded({ ...rest, evicted, operation }).equals(encoded(entry))).toBe(true);
      at += entryBytesAt(bytes, at);
    }
  });

  it('says so when an entry is cut off or of an unknown kind', () => {
    const bytes = encoded({ ...base, operation: { kind: 'office' } });
    expect(() => decodeEntry(bytes.subarray(0, bytes.length - 1), 0)).toThrow(RangeError);
    bytes[4] = 9;
    expect(() => decodeEntry(bytes, 0)).toThrow(RangeError);
  });
});

import * as fc from 'fast-check';
import { cursorTag, decodeCursor, encodeCursor } from './cursor.ts';

const keyspace = { tag: cursorTag('1f2e3d4c'), partitionCount: 64 };
const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });

describe('scan cursor', () => {
  it('golden', () => {
    expect(encodeCursor({ high: 1, low: 2 }, { partition: 3, position: { high: 4, low: 0xffff_ffff } }).toString('hex')).toBe(
      '010000000100000002000300000004ffffffff001e904898',
    );
  });

  it('gives back what was put in', () => {
    fc.assert(
      fc.property(fc.nat(63), uint32, uint32, (partition, high, low) => {
        const cursor = { partition, position: { high, low } };
        expect(decodeCursor(encodeCursor(keyspace.tag, cursor), keyspace)).toEqual(cursor);
      }),
    );
  });

  it('takes no bytes as the start', () => {
    expect(decodeCursor(Buffer.alloc(0), keyspace)).toBeUndefined();
  });

  const good = encodeCursor(keyspace.tag, { partition: 5, position: { high: 6, low: 7 } });
  it.each([
    ['garbage', Buffer.from('garbage')],
    ['a changed byte', Buffer.concat([good.subarray(0, 12), Buffer.of(good[12]! ^ 1), good.subarray(13)])],
    ['another keyspace', encodeCursor(cursorTag('other'), { partition: 5, position: { high: 6, low: 7 } })],
    ['a partition out of range', encodeCursor(keyspace.tag, { partition: 64, position: { high: 6, low: 7 } })],
  ])('refuses %s', (_name, bytes) => {
    expect(() => decodeCursor(bytes, keyspace)).toThrow(
      expect.objectContaining({ reason: 'CURSOR_MALFORMED', metadata: { field: 'cursor' } }) as Error,
    );
  });
});

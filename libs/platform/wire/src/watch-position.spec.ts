import { isAtollError } from '@atoll/core-errors';
import { decodeWatchPosition, encodeWatchPosition, watchTag, watchedPartition } from './watch-position.ts';

const keyspace = { tag: watchTag('ks1'), partitionCount: 64 };
const position = { partition: 63, version: { generation: 3, epoch: 7, seq: 2 ** 40 + 5 } };
const encoded = encodeWatchPosition(keyspace.tag, position);

const reasonOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (isAtollError(error)) return `${error.reason} ${error.metadata['field']}`;
    throw error;
  }
  return 'none';
};

describe('position of a watch', () => {
  it('comes back as it was', () => {
    expect(decodeWatchPosition(encoded, keyspace)).toEqual(position);
    expect(watchedPartition(encoded)).toBe(63);
    expect(encoded.length).toBeLessThanOrEqual(64);
  });

  it.each<[string, () => unknown]>([
    ['nothing', () => decodeWatchPosition(Buffer.alloc(0), keyspace)],
    ['one that was cut off', () => decodeWatchPosition(encoded.subarray(0, 20), keyspace)],
    ['one with a changed byte', () => decodeWatchPosition(Buffer.from(encoded.map((byte, index) => (index === 12 ? byte ^ 1 : byte))), keyspace)],
    ['one of another keyspace', () => decodeWatchPosition(encoded, { ...keyspace, tag: watchTag('ks2') })],
    ['one of a partition that is not there', () => decodeWatchPosition(encoded, { ...keyspace, partitionCount: 32 })],
    ['a stranger', () => watchedPartition(Buffer.from('nonsense'))],
  ])('refuses %s', (_name, run) => {
    expect(reasonOf(run)).toBe('WATCH_POSITION_MALFORMED positions');
  });
});

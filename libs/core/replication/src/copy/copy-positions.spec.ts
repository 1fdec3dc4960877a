import { CopyPositions } from './copy-positions.ts';
import type { CopyPosition } from './copy-position.ts';

const at = (source: number, seq: number): CopyPosition => ({ source, phase: 'FOLLOWING', origin: { generation: 1, epoch: 1, seq }, stampMs: seq, next: undefined });

describe('the origins that a partition of a copy holds (R37)', () => {
  // log here:        10: 0 at 100   11: 1 at 200   12: 0 at 101   13: 0 at 102
  // snapshot, at 12:    0 at 101       1 at 200
  it('those of a snapshot fill in what the log that runs beside did not bring, and take back nothing', () => {
    const sender = new CopyPositions();
    sender.set(at(0, 101), 12);
    sender.set(at(1, 200), 11);
    const receiver = new CopyPositions();
    receiver.set(at(0, 102), 13);
    receiver.load(sender.encode(), 12);
    expect([0, 1].map((source) => receiver.get(source))).toEqual([at(0, 102), at(1, 200)]);
  });

  it('entries that a snapshot has seen already take back nothing, later ones count', () => {
    const sender = new CopyPositions();
    sender.set(at(0, 101), 12);
    const receiver = new CopyPositions();
    receiver.load(sender.encode(), 12);
    receiver.set(at(0, 100), 10);
    expect(receiver.get(0)).toEqual(at(0, 101));
    receiver.set(at(0, 7), 13);
    expect(receiver.get(0)).toEqual(at(0, 7));
  });

  it.each([
    ['half of one', Buffer.alloc(20)],
    ['an unknown phase', Buffer.alloc(35, 9)],
  ])('refuses %s', (_name, bytes) => {
    expect(() => new CopyPositions().load(bytes, 1)).toThrow(RangeError);
  });
});

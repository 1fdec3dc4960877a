import { ContentProgress, type RangeReading } from './content-progress.ts';

const reading = (range: number, changes: Partial<RangeReading> = {}): RangeReading => ({ range, unsettled: false, versions: 1n, content: 2n, entries: 3, bytes: 40, ...changes });
const COUNTS = [4, 8, 16];

describe('the comparison of content (R34)', () => {
  it('is over when every leaf was read equal in one state, and counts the entries', () => {
    const progress = new ContentProgress([0, 1, 3], COUNTS);
    expect(progress.take([reading(0), reading(1)], [reading(0), reading(1)])).toBe(2);
    expect(progress.outstanding).toEqual([3]);
    progress.take([reading(3)], [reading(3)]);
    expect(progress).toMatchObject({ outstanding: [], different: [], entries: 9, equal: 12 });
  });

  it('is of no use where the versions differ, something is unsettled, or only one answered', () => {
    const progress = new ContentProgress([0, 1, 2, 3], COUNTS);
    const mine = [reading(0), reading(1, { unsettled: true }), reading(2), reading(3)];
    expect(progress.take(mine, [reading(0, { versions: 9n, content: 9n }), reading(1), reading(2, { unsettled: true })])).toBe(0);
    expect(progress.outstanding).toEqual([0, 1, 2, 3]);
  });

  it.each([{ content: 9n }, { entries: 4 }, { bytes: 41 }])('tells a leaf that differs in %p under the same versions', (change) => {
    const progress = new ContentProgress([0, 1], COUNTS);
    progress.take([reading(0), reading(1)], [reading(0), reading(1, change)]);
    expect(progress).toMatchObject({ outstanding: [], different: [1], entries: 3 });
  });

  it('goes on with finer sub-ranges of what is outstanding, and names their leaves', () => {
    const progress = new ContentProgress([1, 2], COUNTS);
    progress.take([reading(2)], [reading(2)]);
    expect(progress.refine()).toBe(true);
    expect(progress).toMatchObject({ rangeCount: 8, outstanding: [2, 3] });
    progress.take([reading(2)], [reading(2)]);
    expect(progress.refine()).toBe(true);
    expect(progress).toMatchObject({ rangeCount: 16, outstanding: [6, 7], equal: 6 });
    expect(progress.refine()).toBe(false);
    progress.take([reading(6), reading(7)], [reading(6, { versions: 5n }), reading(7)]);
    expect(progress).toMatchObject({ outstanding: [6], different: [] });
  });

  it('at a marker is of one state: other versions are a difference, too', () => {
    const progress = new ContentProgress([1, 2], COUNTS);
    progress.refine();
    progress.take([reading(2), reading(4)], [reading(2, { versions: 5n }), reading(4, { unsettled: true })], true);
    progress.take([reading(3)], [reading(3)]);
    expect(progress).toMatchObject({ outstanding: [4, 5], different: [1], entries: 0 });
  });
});

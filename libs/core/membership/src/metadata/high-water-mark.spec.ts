import { HighWaterMark, olderThan, type MetadataSight, type VersionedTerm } from './high-water-mark.ts';

const sight = (revision: number, changeRevision: number, more: Partial<MetadataSight> = {}): MetadataSight => ({ clusterId: 'k', revision, changeRevision, recoveryRevision: 0, noticed: [], ...more });

/** A mark that has seen revision 100 with the last change at 90. */
function seasoned(): HighWaterMark {
  const mark = new HighWaterMark();
  mark.observe(sight(100, 90), mark.sending);
  return mark;
}

describe('HighWaterMark (R13)', () => {
  it.each([
    ['nothing new', sight(100, 90), []],
    ['news that are no configuration', sight(140, 90), []],
    ['a keyspace that was deleted: a change like any other', sight(101, 101), []],
    ['an older revision', sight(80, 80), ["etcd's revision went back from 100 to 80", 'the last change of configuration went back from revision 90 to 80']],
    ['a restored etcd that has counted on: the change that was seen is gone', sight(120, 70), ['the last change of configuration went back from revision 90 to 70']],
    ['a wiped etcd', sight(3, 0, { clusterId: undefined }), ["etcd's revision went back from 100 to 3", 'the last change of configuration went back from revision 90 to 0', "the cluster's id went from k to none"]],
    ['the etcd of another cluster', sight(500, 400, { clusterId: 'x' }), ["the cluster's id went from k to x"]],
  ])('%s', (_name, seen, reasons) => {
    const mark = seasoned();
    expect(mark.observe(seen, mark.sending)).toBe(reasons.length === 0 ? 'unchanged' : 'regressed');
    expect(mark.reasons).toEqual(reasons);
  });

  it('what was noted while a look was under way does not count against its answer', () => {
    const mark = seasoned();
    const sent = mark.sending;
    mark.note({ revision: 105, changeRevision: 105 });
    expect(mark.observe(sight(103, 103), sent)).toBe('unchanged');
    expect(mark.mark).toEqual({ revision: 105, changeRevision: 105 });
  });

  it('stands still while etcd is behind, and goes on at a word of recovery above it', () => {
    const mark = seasoned();
    mark.observe(sight(80, 80), mark.sending);
    mark.note({ revision: 300, changeRevision: 300 });
    expect(mark.mark).toEqual({ revision: 100, changeRevision: 90 });
    // The word of an earlier recovery came back with the backup.
    expect(mark.observe(sight(130, 120, { recoveryRevision: 60 }), mark.sending)).toBe('unchanged');
    expect(mark.observe(sight(210, 205, { recoveryRevision: 204 }), mark.sending)).toBe('recovered');
    expect(mark.reasons).toEqual([]);
    expect(mark.mark).toEqual({ revision: 210, changeRevision: 205 });
    expect(mark.observe(sight(211, 205, { recoveryRevision: 204 }), mark.sending)).toBe('unchanged');
  });

  it('an answer that was on its way while all was recovered does not count', () => {
    const mark = seasoned();
    mark.observe(sight(80, 80), mark.sending);
    const late = mark.sending;
    expect(mark.observe(sight(210, 205, { recoveryRevision: 204 }), mark.sending)).toBe('recovered');
    expect(mark.observe(sight(90, 80), late)).toBe('unchanged');
    expect(mark.isRegressed).toBe(false);
  });

  it('learns from others what it did not see itself', () => {
    const fresh = new HighWaterMark();
    fresh.observe(sight(80, 80), fresh.sending);
    expect(fresh.raise({ revision: 100, changeRevision: 90 }, true)).toBe(true);
    expect(fresh.observe(sight(82, 80), fresh.sending)).toBe('regressed');
    // One that began since counts what came since.
    expect(fresh.raise({ revision: 2000, changeRevision: 80 }, false)).toBe(false);
    expect(fresh.raise({ revision: 110, changeRevision: 90 }, true)).toBe(true);
    expect(fresh.mark).toEqual({ revision: 110, changeRevision: 90 });
    expect(fresh.own).toEqual({ revision: 80, changeRevision: 80 });
  });

  it('what a process saw in its last life counts from the start', () => {
    const seen = { clusterId: 'k', mark: { revision: 100, changeRevision: 90 } };
    const mark = new HighWaterMark(seen);
    expect(mark.observe(sight(120, 70), mark.sending)).toBe('regressed');
    const wiped = new HighWaterMark(seen);
    expect(wiped.observe(sight(3, 0, { clusterId: undefined }), wiped.sending)).toBe('regressed');
    const elsewhere = new HighWaterMark(seen);
    expect(elsewhere.observe(sight(20, 7, { clusterId: 'x' }), elsewhere.sending)).toBe('unchanged');
    expect(elsewhere.mark).toEqual({ revision: 20, changeRevision: 7 });
  });

  it('believes the note of whoever remembered more, until it is gone and all was recovered', () => {
    const mark = new HighWaterMark();
    expect(mark.observe(sight(50, 40, { noticed: ['etcd went back'], recoveryRevision: 30 }), mark.sending)).toBe('regressed');
    expect(mark.reasons).toEqual(['etcd went back']);
    expect(mark.observe(sight(120, 110, { noticed: ['etcd went back'], recoveryRevision: 105 }), mark.sending)).toBe('unchanged');
    expect(mark.observe(sight(121, 110, { recoveryRevision: 30 }), mark.sending)).toBe('unchanged');
    expect(mark.observe(sight(121, 110, { recoveryRevision: 105 }), mark.sending)).toBe('recovered');
  });

  it('is told by others, and keeps a bounded number of reasons (I10)', () => {
    const mark = seasoned();
    expect(mark.regress(Array.from({ length: 50 }, (_, index) => `key ${index}`))).toBe('regressed');
    expect(mark.regress(['key 0'])).toBe('unchanged');
    expect(mark.reasons).toHaveLength(10);
  });
});

describe('olderThan', () => {
  const at = (modRevision: number, generation: number, epoch: number, keyspaceId = 'k1'): VersionedTerm => ({ modRevision, term: { keyspaceId, generation, epoch } });
  const seen = new Map([['partitions/a/0003', at(50, 2, 7)], ['keyspaces/a', { modRevision: 40 }]]);

  it.each([
    ['the same', 'partitions/a/0003', at(50, 2, 7), []],
    ['a newer one', 'partitions/a/0003', at(60, 2, 8), []],
    ['a lower epoch', 'partitions/a/0003', at(60, 2, 6), ['partitions/a/0003 went back from generation 2 epoch 7 to generation 2 epoch 6']],
    ['a lower generation', 'partitions/a/0003', at(60, 1, 9), ['partitions/a/0003 went back from generation 2 epoch 7 to generation 1 epoch 9']],
    ['the same term before its last change', 'partitions/a/0003', at(45, 2, 7), ['partitions/a/0003 went back from revision 50 to 45']],
    ['another keyspace of that name', 'partitions/a/0003', at(70, 1, 1, 'k2'), []],
    ['an older keyspace', 'keyspaces/a', { modRevision: 12 }, ['keyspaces/a went back from revision 40 to 12']],
    ['one that was not seen before', 'keyspaces/b', { modRevision: 3 }, []],
  ])('%s', (_name, key, now, reasons) => {
    expect(olderThan(seen, [[key, now]])).toEqual(reasons);
  });
});

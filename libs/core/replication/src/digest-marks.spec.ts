import { MARKS_MAX, MARK_WAITERS_MAX, DigestMarks, type MarkedDigest } from './digest-marks.ts';
import { follow, momentAt, openState, recordOf, setTo, takeOffice } from './testing/solo.ts';

const digest = { leaves: new Uint32Array(128), count: 0 };
const at = (seq: number, epoch = 1) => ({ epoch, seq });

describe('digests at markers (R34)', () => {
  it('keeps those of the last markers and forgets older ones (I10)', () => {
    const marks = new DigestMarks();
    for (let seq = 1; seq <= MARKS_MAX + 1; seq += 1) marks.keep(at(seq), digest);
    expect(marks.get(at(1))).toBeUndefined();
    expect(marks.get(at(2))?.position).toEqual(at(2));
    expect(marks.get(at(MARKS_MAX + 1))?.position).toEqual(at(MARKS_MAX + 1));
  });

  it('tells who waits, once, and tells nothing of a marker of another epoch at that seq', () => {
    const marks = new DigestMarks();
    const told: (MarkedDigest | undefined)[] = [];
    marks.wait(at(5, 1), (each) => told.push(each));
    marks.keep(at(4, 1), digest);
    expect(told).toEqual([]);
    marks.keep(at(5, 2), digest);
    marks.keep(at(5, 1), digest);
    expect(told).toEqual([undefined]);
  });

  it('lets no more than a bounded number wait, and none that called off (I10)', () => {
    const marks = new DigestMarks();
    const never = (): void => {
      throw new Error('called off');
    };
    const calls = Array.from({ length: MARK_WAITERS_MAX }, () => marks.wait(at(9), never));
    expect(marks.wait(at(9), never)).toBeUndefined();
    for (const callOff of calls) callOff?.();
    marks.keep(at(9), digest);
    expect(marks.wait(at(10), () => undefined)).toBeDefined();
  });

  it('calls those who read at the next one once, none that called off, and not too many (I10)', () => {
    const marks = new DigestMarks();
    const told: unknown[] = [];
    const calls = Array.from({ length: MARK_WAITERS_MAX }, () => marks.next((position) => told.push(position)));
    expect(marks.next(() => undefined)).toBeUndefined();
    for (const callOff of calls.slice(1)) callOff?.();
    marks.keep(at(7), digest);
    marks.keep(at(8), digest);
    expect(told).toEqual([at(7)]);
    marks.next((position) => told.push(position));
    marks.clear();
    expect(told).toEqual([at(7), undefined]);
  });

  it('forgets everything with an install', () => {
    const marks = new DigestMarks();
    const told: unknown[] = [];
    marks.keep(at(3), digest);
    marks.wait(at(4), (each) => told.push(each));
    marks.clear();
    expect(told).toEqual([undefined]);
    expect(marks.get(at(3))).toBeUndefined();
  });
});

describe('a marker in the log (R34)', () => {
  it('finds equal digests at leader and follower, whatever was written behind it', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'], learners: ['b'] }) });
    const b = follow(solo, openState('b'));
    b.subscribe(0);
    for (let index = 0; index < 50; index += 1) solo.write(`k${index}`, setTo('v'), momentAt(1));
    const marked = solo.leader.putMarker(momentAt(2));
    if (marked.kind !== 'marked') throw new Error(marked.message);
    solo.write('k1', setTo('later'), momentAt(3));
    b.receive(4);
    const [mine, its] = [solo.state.marks.get(marked.position), b.state.marks.get(marked.position)];
    expect(mine?.count).toBe(50);
    expect(its).toEqual(mine);
    expect(solo.state.store.digest().leaves).not.toEqual(mine?.leaves);
  });

  it('lets the stores of leader and follower be read as they are at its place, whatever comes behind it', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'], learners: ['b'] }) });
    const b = follow(solo, openState('b'));
    b.subscribe(0);
    for (let index = 0; index < 50; index += 1) solo.write(`k${index}`, setTo('v'), momentAt(1));
    const read: unknown[] = [];
    for (const { marks, store } of [solo.state, b.state]) marks.next((position) => read.push({ position, digest: store.digest() }));
    const marked = solo.leader.putMarker(momentAt(2));
    if (marked.kind !== 'marked') throw new Error(marked.message);
    solo.write('k1', setTo('later'), momentAt(3));
    b.receive(4);
    expect(read).toHaveLength(2);
    expect(read[1]).toEqual(read[0]);
    expect(read[0]).toMatchObject({ position: marked.position, digest: { count: 50 } });
  });

  it('is refused where a write would be: it needs the same replicas', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }), settings: { minInSync: 2 } });
    expect(solo.leader.putMarker(momentAt(1))).toMatchObject({ kind: 'failed' });
  });
});

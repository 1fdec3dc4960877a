import { WALL_MS, follow, momentAt, openState, recordOf, setTo, takeOffice } from './testing/solo.ts';

describe('expiry (R23)', () => {
  it('is one record at a time, however long its commit takes', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }) });
    const follower = follow(solo, openState('b'));
    const exchange = (nowMs: number): void => {
      follower.receive(nowMs);
      follower.acknowledge(nowMs);
    };
    follower.subscribe(0);
    exchange(0);
    solo.write('key', setTo('x', WALL_MS + 50), momentAt(1));
    exchange(2);
    const endSeq = solo.state.log.end.seq;
    for (let nowMs = 100; nowMs < 500; nowMs += 10) solo.leader.tick(momentAt(nowMs));
    expect(solo.state.log.end.seq).toBe(endSeq + 1);
    expect(solo.state.store.entryCount).toBe(1);
    exchange(500);
    expect(solo.state.store.entryCount).toBe(0);
    exchange(501);
    expect(follower.state.store.entryCount).toBe(0);
  });

  it('removes nothing that was given a later expiry before the record', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }) });
    solo.write('key', setTo('x', WALL_MS + 50), momentAt(1));
    solo.write('other', setTo('x', WALL_MS + 50), momentAt(1));
    solo.write('key', { kind: 'touch', expiresAtMs: WALL_MS + 5000 }, momentAt(40));
    solo.leader.tick(momentAt(100));
    expect(solo.state.store.entryCount).toBe(1);
  });
});

import { follow, momentAt, openState, recordOf, setTo, takeOffice } from './testing/solo.ts';

describe('a learner that comes in sync under load (R8)', () => {
  it('takes a learner in that keeps pace, though there is always something on its way to it', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'], learners: ['b'] }) });
    const learner = follow(solo, openState('b'));
    learner.subscribe(0);
    // 1. the leader alone is in sync, so each write commits at its append
    // 2. the learner takes what is there and acknowledges it 1 ms later; by then there are newer writes, committed
    for (let nowMs = 1; nowMs < 400 && solo.changes.length === 0; nowMs += 2) {
      solo.write(`key-${nowMs}`, setTo('x'), momentAt(nowMs));
      learner.receive(nowMs);
      solo.write(`key-${nowMs}`, setTo('y'), momentAt(nowMs));
      learner.acknowledge(nowMs + 1);
      solo.leader.tick(momentAt(nowMs + 1));
    }
    // 3. it is taken in nevertheless, and has every committed entry by then (R8)
    expect(solo.changes.map(({ record }) => record.inSync.length)).toEqual([2]);
    expect(solo.leader.follower(learner.member.replica)!.matchSeq).toBe(solo.state.appliedSeq);
    expect(solo.state.log.end.seq).toBeGreaterThan(solo.state.appliedSeq);
  });

  it('lets a learner go that stops while commits wait for it', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'], learners: ['b'] }) });
    const learner = follow(solo, openState('b'));
    learner.subscribe(0);
    for (let nowMs = 1; nowMs < 400; nowMs += 2) {
      learner.receive(nowMs);
      solo.write(`key-${nowMs}`, setTo('x'), momentAt(nowMs));
      learner.acknowledge(nowMs + 1);
      const outcomes = solo.write(`key-${nowMs}`, setTo('y'), momentAt(nowMs + 1));
      if (outcomes.length > 0) continue;
      // commits wait for the learner now, and it falls silent
      solo.leader.tick(momentAt(nowMs + 500));
      expect(outcomes).toEqual([]);
      solo.leader.tick(momentAt(nowMs + 700));
      expect(outcomes).toHaveLength(1);
      // it has to keep pace for a while before it is tried again (R24)
      learner.receive(nowMs + 701);
      solo.write('more', setTo('z'), momentAt(nowMs + 701));
      learner.acknowledge(nowMs + 702);
      solo.leader.tick(momentAt(nowMs + 703));
      expect(solo.write('more', setTo('z'), momentAt(nowMs + 704))).toHaveLength(1);
      expect(solo.changes).toEqual([]);
      return;
    }
    throw new Error('commits never waited for the learner');
  });
});

import { follow, momentAt, openState, recordOf, setTo, takeOffice } from './testing/solo.ts';

/** b has an entry of epoch 1 that the leader of epoch 2 does not have; it is a learner. */
function parted() {
  const former = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }) });
  const state = openState('b');
  const first = follow(former, state);
  first.subscribe(0);
  first.receive(1);
  const solo = takeOffice({ state: openState('c'), record: recordOf({ leader: 'c', inSync: ['c'], learners: ['b'], epoch: 2 }) });
  for (let count = 0; count < 5; count += 1) solo.write(`key-${count}`, setTo('y'), momentAt(10));
  return { solo, follower: follow(solo, state), state };
}

describe('a follower', () => {
  it('counts nothing as appended before its leader has answered the subscription (R8)', () => {
    const { solo, follower, state } = parted();
    const trimmed = solo.leader.subscribe({ ...follower.follower.subscription(1), generation: { counter: 0, id: '' } }, follower.member, 20);
    // 1. the leader orders an install, the order is on its way
    expect(trimmed.kind).toBe('install');
    // 2. the follower acknowledges what it has: entries that the leader does not know
    solo.leader.onAck(follower.follower.ack(1, 1000), follower.member.replica, 21);
    // 3. they must not make it look like one that has everything
    solo.leader.tick(momentAt(22));
    expect(state.log.end.seq).toBe(1);
    expect(solo.leader.follower(follower.member.replica)!.matchSeq).toBe(0);
    expect(solo.changes).toEqual([]);
  });

  it('applies no commit position to a log that may not be the leader\'s', () => {
    const { follower, state } = parted();
    follower.follower.subscription(1);
    const news = { channel: 1, epoch: 2, prev: { epoch: 2, seq: 6 }, count: 0, entries: Buffer.alloc(0), commitSeq: 6, timeMs: 0 };
    expect(follower.follower.onAppend(news, 20)).toBe('resubscribe');
    expect(state.appliedSeq).toBe(0);
  });

  it('cuts its log back to where it agrees with the leader\'s, then goes on (R28)', () => {
    const { solo, follower, state } = parted();
    expect(follower.subscribe(20).kind).toBe('divergence');
    expect(state.log.end.seq).toBe(0);
    expect(follower.subscribe(30).kind).toBe('accepted');
    follower.receive(30);
    expect(state.log.end).toEqual(solo.state.log.end);
    expect(state.appliedSeq).toBe(6);
    expect(state.store.digest()).toEqual(solo.state.store.digest());
  });

  it('refuses to take back what it has applied (R28)', () => {
    const { solo, follower, state } = parted();
    follower.subscribe(20);
    follower.subscribe(30);
    follower.receive(30);
    expect(() => follower.follower.onDivergence({ channel: 9, epoch: solo.leader.epoch, end: { epoch: 2, seq: 3 } })).toThrow('R28');
    expect(state.appliedSeq).toBe(6);
  });
});

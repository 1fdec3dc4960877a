import { assertRecord } from '@atoll/core-membership';
import { toReplicaId } from '@atoll/core-runtime';
import { FollowerProgress } from './follower-progress.ts';
import { follow, memberOf, momentAt, openState, recordOf, setTo, takeOffice } from './testing/solo.ts';

describe('the lag of a follower', () => {
  it('is the time for which it has lacked what the log held, not that since its last progress', () => {
    const progress = new FollowerProgress({ member: memberOf('b'), channel: 1, endSeq: 0, installing: false, nowMs: 0 });
    const acknowledge = (appendedSeq: number, nowMs: number): void => {
      progress.nextSeq = appendedSeq + 1;
      progress.onAck({ channel: 1, epoch: 1, appendedSeq, freeBytes: 0, installing: false } as never, nowMs);
    };
    progress.measureLag(0, 0, 300);
    expect(progress.lagMs(0, 1000)).toBe(0);
    progress.measureLag(10, 1000, 300); // the log grows: a round of ten entries begins
    acknowledge(4, 1200);
    progress.measureLag(10, 1200, 300);
    expect(progress.lagMs(10, 1250)).toBe(250);
    acknowledge(10, 1300);
    expect(progress.lagMs(12, 1300)).toBe(0);
  });
});

describe('the in-sync set', () => {
  it('takes no second replica of one node in: the old id goes first (R1)', () => {
    const record = recordOf({ leader: 'a', inSync: ['a', 'b'], learners: ['c'] });
    // c is a new replica on b's node: b's process came back without its data
    const renewed = { node: record.record.inSync[1]!.node, replica: toReplicaId('c'.padEnd(16, '0')) };
    const versioned = { ...record, record: { ...record.record, learners: [renewed] } };
    const solo = takeOffice({ state: openState('a'), record: versioned });
    const learner = follow(solo, openState('c'));
    solo.leader.subscribe(learner.follower.subscription(9), renewed, 10);
    learner.receive(10);
    solo.leader.onAck(learner.follower.ack(9, 1000), renewed.replica, 20);
    solo.leader.tick(momentAt(30));
    expect(solo.changes).toEqual([]);
    // b is removed for its silence; then the learner comes in
    solo.leader.tick(momentAt(700));
    expect(solo.changes.map(({ record: { inSync } }) => inSync.map(({ replica }) => replica[0]))).toEqual([['a']]);
    solo.leader.onChangeOutcome(solo.changes[0]!, { kind: 'succeeded', modRevision: 2 }, 700);
    learner.receive(700);
    solo.leader.onAck(learner.follower.ack(9, 1000), renewed.replica, 710);
    solo.leader.tick(momentAt(720));
    expect(solo.changes.map(({ record: { inSync } }) => inSync.map(({ replica }) => replica[0]))).toEqual([['a'], ['a', 'c']]);
    for (const change of solo.changes) assertRecord(change.record);
  });

  it('tells a follower that no record names any more to subscribe again', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'], learners: ['b'] }) });
    const learner = follow(solo, openState('b'));
    learner.subscribe(0);
    solo.leader.onRecord(recordOf({ leader: 'a', inSync: ['a'], revision: 2 }), 10);
    expect(solo.cutOff).toEqual([learner.member.replica]);
    // the next record names it again, before it has seen the one that did not
    solo.leader.onRecord(recordOf({ leader: 'a', inSync: ['a'], learners: ['b'], revision: 3 }), 20);
    expect(learner.subscribe(30).kind).toBe('accepted');
  });

  it('of a keyspace whose minInSync was lowered commits only when nobody is eligible any more (R9)', () => {
    const versioned = recordOf({ leader: 'a', inSync: ['a'], learners: ['b'] });
    const record = { ...versioned.record, eligible: [memberOf('b')] };
    const solo = takeOffice({ state: openState('a'), record: { ...versioned, record }, settings: { minInSync: 1 } });
    // raised again, the coordinator may promote b, which has nothing of this
    expect(solo.write('k', setTo('v'), momentAt(10))).toMatchObject([{ kind: 'failed' }]);
    solo.leader.tick(momentAt(20));
    expect(solo.changes.map(({ record: { inSync, eligible } }) => [inSync.length, eligible.length])).toEqual([[1, 0]]);
    expect(solo.write('k', setTo('v'), momentAt(30))).toMatchObject([{ kind: 'failed' }]);
    solo.leader.onChangeOutcome(solo.changes[0]!, { kind: 'succeeded', modRevision: 2 }, 40);
    expect(solo.write('k', setTo('v'), momentAt(50))).toMatchObject([{ kind: 'done' }]);
  });

  it('lets one go whose node says that it stops while that one still acknowledges, and does not take it back (R29)', () => {
    const stopping = new Set<string>();
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }), isStopping: ({ node }) => stopping.has(node) });
    const b = follow(solo, openState('b'));
    const exchange = (nowMs: number): void => {
      b.receive(nowMs);
      b.acknowledge(nowMs);
    };
    b.subscribe(0);
    exchange(0);
    stopping.add('b');
    solo.leader.tick(momentAt(10));
    expect(solo.changes.map(({ record: { inSync } }) => inSync.map(({ node }) => node))).toEqual([['a']]);
    // until that is certain both count, and nobody waits
    const outcomes = solo.write('k', setTo('v'), momentAt(11));
    expect(outcomes).toEqual([]);
    exchange(12);
    expect(outcomes).toMatchObject([{ kind: 'done' }]);
    solo.leader.onChangeOutcome(solo.changes[0]!, { kind: 'succeeded', modRevision: 2 }, 13);
    expect(solo.write('k', setTo('w'), momentAt(14))).toMatchObject([{ kind: 'done' }]);
    exchange(15);
    solo.leader.tick(momentAt(2000));
    expect(solo.changes).toHaveLength(1);
  });

  it('keeps one whose node stops where too few would stay (R9)', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }), settings: { minInSync: 2 }, isStopping: () => true });
    follow(solo, openState('b')).subscribe(0);
    solo.leader.tick(momentAt(10));
    expect(solo.changes).toEqual([]);
  });
});

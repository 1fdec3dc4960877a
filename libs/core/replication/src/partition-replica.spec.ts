import { SeededRandom } from '@atoll/core-runtime';
import { PartitionReplica } from './partition-replica.ts';
import type { LeaderHooks } from './replica-types.ts';
import { SETTINGS, follow, momentAt, openState, recordOf, setTo, takeOffice } from './testing/solo.ts';

const hooks: LeaderHooks = {
  wake: () => undefined,
  commitMoved: () => undefined,
  cutOff: () => undefined,
  requestChange: () => undefined,
  readRecord: () => undefined,
  recordChanged: () => undefined,
  beforeLease: () => undefined,
  leaseUntilMs: () => Number.POSITIVE_INFINITY,
  fenceUntilMs: () => Number.POSITIVE_INFINITY,
  isStopping: () => false,
  mayPart: () => true,
  askRemoval: () => undefined,
};

const openReplica = (incarnation = 'life-1'): PartitionReplica =>
  new PartitionReplica({ state: openState('a'), settings: SETTINGS, hooks, random: new SeededRandom(1), incarnation, promiseUntilMs: 0 });

describe('an office (R2)', () => {
  it('is not taken twice: after it was given up, only a new epoch makes a leader', () => {
    const replica = openReplica();
    expect(replica.onRecord(recordOf({ leader: 'a', inSync: ['a'] }), momentAt(0))).toBe('role-changed');
    // 1. the process gives its office up, because it stops
    replica.retire();
    // 2. the watch shows the record again: the coordinator has not chosen a successor yet
    expect(replica.onRecord(recordOf({ leader: 'a', inSync: ['a'], revision: 2 }), momentAt(10))).toBe('refused-office');
    expect(replica.leader).toBeUndefined();
    expect(replica.onRecord(recordOf({ leader: 'a', inSync: ['a'], epoch: 2, revision: 3 }), momentAt(20))).toBe('role-changed');
    expect(replica.leader?.epoch).toBe(2);
  });

  it('that was given to another life of the process is not taken', () => {
    const replica = openReplica('life-2');
    expect(replica.onRecord(recordOf({ leader: 'a', inSync: ['a'] }), momentAt(0))).toBe('refused-office');
    expect(replica.state.log.end.seq).toBe(0);
  });
});

describe('a member that connects again and again', () => {
  it('has no more time for its acknowledgement than one that stays (R24)', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }) });
    const member = follow(solo, openState('b'));
    member.subscribe(0);
    solo.write('k', setTo('v'), momentAt(100));
    // it never acknowledges, but opens its stream anew every 200 ms
    for (let atMs = 200; atMs <= 800; atMs += 200) {
      solo.leader.unlink(member.member.replica, atMs);
      member.subscribe(atMs);
      solo.leader.tick(momentAt(atMs));
    }
    expect(solo.changes.map(({ record }) => record.inSync.map(({ node }) => node))).toEqual([['a']]);
  });
});

describe('a reset (R31)', () => {
  const afterReset = (counter: number) => {
    const { record } = recordOf({ leader: 'a', inSync: ['a'], epoch: 5, revision: 9 });
    return { record: { ...record, generation: { counter, id: `g${counter}` } }, modRevision: 9 };
  };

  it('that takes a replica for empty, which was filled as a learner since, does not know it: its node makes room (R1, R3)', () => {
    const replica = openReplica();
    const { counter } = replica.state.generation;
    expect(replica.onRecord(afterReset(counter), momentAt(0))).not.toBe('unnamed');
    expect(replica.onRecord({ ...afterReset(counter + 1), modRevision: 10 }, momentAt(1))).toBe('unnamed');
    expect(replica.role.kind).toBe('idle');
  });
});

describe('an unclean recovery (R3, R15)', () => {
  const recovered = (incarnationOfLeader = 'life-1') => {
    const { record } = recordOf({ leader: 'a', inSync: ['a'], epoch: 4, revision: 9 });
    return { record: { ...record, generation: { counter: 2, id: 'g2' }, continues: record.generation, leaderIncarnation: incarnationOfLeader }, modRevision: 9 };
  };

  it('has the replica that is named lead in the new generation with all that it holds', () => {
    const state = openState('a');
    state.adoptEmpty(recordOf({ leader: 'a', inSync: ['a'] }).record.generation);
    const solo = takeOffice({ state, record: recordOf({ leader: 'a', inSync: ['a'] }) });
    solo.write('k', setTo('v'), momentAt(0));
    const { end } = solo.state.log;
    const replica = new PartitionReplica({ state: solo.state, settings: SETTINGS, hooks, random: new SeededRandom(1), incarnation: 'life-1', promiseUntilMs: 0 });
    expect(replica.onRecord(recovered(), momentAt(10))).toBe('role-changed');
    expect(replica.leader?.epoch).toBe(4);
    expect(replica.state.generation).toEqual({ counter: 2, id: 'g2' });
    expect(replica.state.store.entryCount).toBe(1);
    expect(replica.state.log.end.seq).toBeGreaterThanOrEqual(end.seq);
  });

  it('leaves the data of any other replica, and of another life of the process, in the old one', () => {
    const replica = openReplica('life-2');
    replica.onRecord(recordOf({ leader: 'a', inSync: ['a'] }), momentAt(0));
    expect(replica.onRecord(recovered(), momentAt(10))).not.toBe('role-changed');
    expect(replica.state.generation.counter).toBe(1);
  });
});

import { SeededRandom } from '@atoll/core-runtime';
import { LeaseGranter } from './lease/lease-granter.ts';
import { PartitionReplica } from './partition-replica.ts';
import type { LeaderHooks } from './replica-types.ts';
import { SETTINGS, memberOf, momentAt, openState, recordOf } from './testing/solo.ts';

const hooks = { readRecord: () => undefined, wake: () => undefined, leaseUntilMs: () => 0, fenceUntilMs: () => Number.POSITIVE_INFINITY, beforeLease: () => undefined } as unknown as LeaderHooks;

const openReplica = (promiseUntilMs = 0): PartitionReplica =>
  new PartitionReplica({ state: openState('b'), settings: SETTINGS, hooks, random: new SeededRandom(1), incarnation: 'life-1', promiseUntilMs });

const replica = memberOf('b').replica;

describe('a promise (R14, R27)', () => {
  it('keeps a replica from leading a higher epoch until it has run out', () => {
    const b = openReplica();
    b.onRecord(recordOf({ leader: 'a', inSync: ['a', 'b'] }), momentAt(0));
    expect(b.grantLease({ epoch: 1, replica }, 1000, 100)).toBe(true);
    expect(b.onRecord(recordOf({ leader: 'b', inSync: ['b'], epoch: 2, revision: 2 }), momentAt(200))).toBe('office-due');
    expect(b.officeDueMs).toBe(1100);
    expect(b.tick(momentAt(1099))).toBe('unchanged');
    expect(b.leader).toBeUndefined();
    expect(b.tick(momentAt(1100))).toBe('role-changed');
    expect(b.leader?.epoch).toBe(2);
  });

  it('does not keep it from following one', () => {
    const b = openReplica();
    b.onRecord(recordOf({ leader: 'a', inSync: ['a', 'b', 'c'] }), momentAt(0));
    b.grantLease({ epoch: 1, replica }, 1000, 100);
    expect(b.onRecord(recordOf({ leader: 'c', inSync: ['b', 'c'], epoch: 2, revision: 2 }), momentAt(200))).toBe('role-changed');
    expect(b.follower?.epoch).toBe(2);
    // ... and what it promised in epoch 1 still holds for its own office in epoch 3
    b.onRecord(recordOf({ leader: 'b', inSync: ['b'], epoch: 3, revision: 3 }), momentAt(300));
    expect(b.officeDueMs).toBe(1100);
  });

  it('counts as made at the start of the process: its last life may have made one', () => {
    const b = openReplica(1500);
    expect(b.onRecord(recordOf({ leader: 'b', inSync: ['b'], epoch: 2 }), momentAt(500))).toBe('office-due');
    expect(b.tick(momentAt(1500))).toBe('role-changed');
  });

  it('is not waited for when the office was relinquished (R29)', () => {
    const b = openReplica();
    b.onRecord(recordOf({ leader: 'a', inSync: ['a', 'b'] }), momentAt(0));
    b.grantLease({ epoch: 1, replica }, 1000, 100);
    const { record, modRevision } = recordOf({ leader: 'b', inSync: ['a', 'b'], epoch: 2, revision: 2 });
    expect(b.onRecord({ record: { ...record, relinquished: true }, modRevision }, momentAt(200))).toBe('role-changed');
    expect(b.leader?.epoch).toBe(2);
  });
});

describe('nothing is promised', () => {
  const following = (): PartitionReplica => {
    const b = openReplica();
    b.onRecord(recordOf({ leader: 'a', inSync: ['a', 'b'], epoch: 3 }), momentAt(0));
    return b;
  };

  it('to a leader of another epoch, for another replica, or for longer than the own setting', () => {
    const b = following();
    expect(b.grantLease({ epoch: 2, replica }, 1000, 100)).toBe(false);
    expect(b.grantLease({ epoch: 3, replica: memberOf('x').replica }, 1000, 100)).toBe(false);
    expect(b.grantLease({ epoch: 3, replica }, 1001, 100)).toBe(false);
    expect(b.promiseUntilMs).toBe(0);
  });

  it('in an epoch below one that was heard of, before the record of that one is known (R27)', () => {
    const b = following();
    expect(b.grantLease({ epoch: 4, replica }, 1000, 100)).toBe(false);
    expect(b.role.kind).toBe('idle');
    expect(b.grantLease({ epoch: 3, replica }, 1000, 110)).toBe(false);
    // the watch comes late with the old record once more
    b.onRecord(recordOf({ leader: 'a', inSync: ['a', 'b'], epoch: 3, revision: 2 }), momentAt(120));
    expect(b.role.kind).toBe('idle');
    b.onRecord(recordOf({ leader: 'c', inSync: ['b', 'c'], epoch: 4, revision: 3 }), momentAt(130));
    expect(b.grantLease({ epoch: 4, replica }, 1000, 140)).toBe(true);
  });

  it('for partitions that the node does not hold: they are named as exceptions', () => {
    const b = following();
    const granter = new LeaseGranter({ find: (_, partition) => (partition === 0 ? b : undefined) });
    const items = [0, 1].map((partition) => ({ keyspace: 'default', partition, epoch: 3, replica }));
    expect(granter.onBeat({ beat: 1, listVersion: 7, items }, 1000, 100)).toEqual({ beat: 1, listVersion: 7, exceptions: [1] });
    expect(granter.onBeat({ beat: 2, listVersion: 7, items: [] }, 1000, 200)).toEqual({ beat: 2, listVersion: 7, exceptions: [1] });
    expect(b.promiseUntilMs).toBe(1200);
  });
});

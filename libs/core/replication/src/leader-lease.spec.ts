import { keyHash, toReplicaId } from '@atoll/core-runtime';
import type { WriteOutcome } from './uncommitted.ts';
import { follow, memberOf, momentAt, openState, recordOf, setTo, takeOffice, type SoloFollower, type SoloLeader } from './testing/solo.ts';

/** A leader with one follower whose lease ends at `lease.untilMs`. */
function openPair(hooks: Pick<Parameters<typeof takeOffice>[0], 'askRemoval'> = {}): { solo: SoloLeader; b: SoloFollower; lease: { untilMs: number } } {
  const lease = { untilMs: 1000 };
  const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }), leaseUntilMs: () => lease.untilMs, ...hooks });
  const b = follow(solo, openState('b'));
  b.subscribe(0);
  b.receive(0);
  b.acknowledge(0);
  return { solo, b, lease };
}

const reasonOf = (outcomes: WriteOutcome[]): string | undefined => (outcomes[0]?.kind === 'failed' ? outcomes[0].reason : outcomes[0]?.kind);

describe('a leader without a lease (R16)', () => {
  it('answers no STRONG read', () => {
    const { solo } = openPair();
    expect(solo.leader.refusalOfReads(999)).toBeUndefined();
    expect(solo.leader.refusalOfReads(1000)?.reason).toBe('PARTITION_UNAVAILABLE');
  });

  it('refuses writes before they get a seq, at every ack level (R20)', () => {
    const { solo } = openPair();
    const endSeq = solo.state.log.end.seq;
    expect(reasonOf(solo.write('k', setTo('v'), momentAt(1000), 'LEADER'))).toBe('PARTITION_UNAVAILABLE');
    expect(reasonOf(solo.write('k', setTo('v'), momentAt(1000)))).toBe('PARTITION_UNAVAILABLE');
    expect(solo.state.log.end.seq).toBe(endSeq);
  });

  it('does not commit what all members have, and does once the lease is there', () => {
    const { solo, b, lease } = openPair();
    const outcomes = solo.write('k', setTo('v'), momentAt(990));
    b.receive(995);
    b.acknowledge(1001);
    expect(outcomes).toEqual([]);
    lease.untilMs = 2000;
    solo.leader.onLeaseChanged(1002);
    expect(reasonOf(outcomes)).toBe('done');
    expect(b.state.appliedSeq).toBeLessThan(solo.state.appliedSeq);
  });

  it('commits nothing by leases of before, when the disk or a follower answers a machine that wakes up (R17)', () => {
    let isAsleep = false;
    const lease = { untilMs: 1000 };
    const solo = takeOffice({
      state: openState('a'),
      record: recordOf({ leader: 'a', inSync: ['a', 'b'] }),
      leaseUntilMs: () => lease.untilMs,
      beforeLease: (leader, nowMs) => {
        if (!isAsleep) return;
        isAsleep = false;
        lease.untilMs = Number.NEGATIVE_INFINITY;
        leader.onLeasesDropped(nowMs);
      },
    });
    const b = follow(solo, openState('b'));
    b.subscribe(0);
    b.receive(0);
    b.acknowledge(0);
    const outcomes = solo.write('k', setTo('v'), momentAt(10));
    b.receive(11);
    isAsleep = true;
    b.acknowledge(12);
    solo.leader.onDurable(12);
    expect(outcomes).toEqual([]);
  });

  it('commits nothing while leases are dropped, one peer after the other (R17)', () => {
    const { solo, b, lease } = openPair();
    const outcomes = solo.write('k', setTo('v'), momentAt(990));
    b.receive(995);
    b.acknowledge(1001);
    lease.untilMs = 2000;
    solo.leader.onLeasesDropped(1002);
    expect(outcomes).toEqual([]);
  });

  it('has dropped it at once when its clock stood still, whatever it had found before (R17)', () => {
    const { solo, lease } = openPair();
    expect(solo.leader.hasLease(10)).toBe(true);
    lease.untilMs = Number.NEGATIVE_INFINITY;
    solo.leader.onLeaseChanged(11);
    expect(solo.leader.hasLease(11)).toBe(false);
  });
});

describe('the leases that are needed', () => {
  it('are those of the old set and of the new one while a change is in doubt (R7, R8)', () => {
    const untilMs: Record<string, number> = { b: 5000, c: 5000 };
    const solo = takeOffice({
      state: openState('a'),
      record: recordOf({ leader: 'a', inSync: ['a', 'b'], learners: ['c'] }),
      leaseUntilMs: ({ node }) => untilMs[node]!,
    });
    for (const name of ['b', 'c']) {
      const follower = follow(solo, openState(name));
      follower.subscribe(0);
      follower.receive(0);
      follower.acknowledge(0);
    }
    solo.leader.tick(momentAt(10));
    expect(solo.changes.at(-1)?.record.inSync.map(({ node }) => node)).toEqual(['a', 'b', 'c']);
    expect(solo.leader.hasLease(20)).toBe(true);
    // 1. the answer to "add c" is lost; 2. c stops granting: it may be in sync, and may be promoted
    solo.leader.onChangeOutcome(solo.changes.at(-1)!, { kind: 'unknown' }, 30);
    untilMs['c'] = 40;
    expect(solo.leader.hasLease(4999)).toBe(true);
    solo.leader.onLeaseChanged(50);
    expect(solo.leader.hasLease(50)).toBe(false);
  });

  it('include that of a learner before its change is sent (R8)', () => {
    let untilMs = Number.NEGATIVE_INFINITY;
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'], learners: ['c'] }), leaseUntilMs: () => untilMs });
    const c = follow(solo, openState('c'));
    c.subscribe(0);
    c.receive(0);
    c.acknowledge(0);
    solo.leader.tick(momentAt(100));
    expect(solo.changes).toEqual([]);
    untilMs = 1000;
    solo.leader.tick(momentAt(200));
    expect(solo.changes).toHaveLength(1);
  });

  it('are none for a leader that is alone', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }), leaseUntilMs: () => 0 });
    expect(solo.leader.refusalOfReads(1_000_000)).toBeUndefined();
  });
});

describe('the last follower (R10)', () => {
  it('is removed when the coordinator says so, or has not answered for followerAckTimeoutMs', () => {
    const asked: string[] = [];
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }), askRemoval: ({ node }) => void asked.push(node) });
    solo.leader.tick(momentAt(601));
    expect(asked).toEqual(['b']);
    expect(solo.changes).toEqual([]);
    solo.leader.onRemovalAnswer(toReplicaId('0'.repeat(16)), true, 610);
    solo.leader.tick(momentAt(700));
    expect(solo.changes).toEqual([]);
    solo.leader.onRemovalAnswer(memberOf('b').replica, false, 710);
    solo.leader.tick(momentAt(1309));
    expect(solo.changes).toEqual([]);
    solo.leader.tick(momentAt(1311));
    expect(solo.changes).toHaveLength(1);
  });

  it('is missed since ever when its node said that it stops, also with a write on its way to it', () => {
    const asked: string[] = [];
    const { solo } = openPair({ askRemoval: ({ node }) => void asked.push(node) });
    solo.write('k', setTo('1'), momentAt(10));
    solo.leader.unlink(memberOf('b').replica, Number.NEGATIVE_INFINITY);
    solo.leader.tick(momentAt(11));
    expect(asked).toEqual(['b']);
  });
});

describe('a planned transfer (R29)', () => {
  const key = Buffer.from('k');

  it('commits what was appended, holds new writes back without a seq, then is silent', () => {
    const { solo, b } = openPair();
    const before = solo.write('k', setTo('1'), momentAt(10));
    const outcomes: unknown[] = [];
    solo.leader.handOver({ target: memberOf('b').replica, holdMs: 100 }, momentAt(11), (outcome) => outcomes.push(outcome));
    const held = solo.write('k', setTo('2'), momentAt(12));
    expect(outcomes).toEqual([]);
    // Until it gives up it still answers reads.
    expect(solo.leader.refusalOfReads(13)).toBeUndefined();
    b.receive(13);
    b.acknowledge(14);
    expect(reasonOf(before)).toBe('done');
    expect(outcomes).toEqual([{ kind: 'given-up', modRevision: 1, end: solo.state.log.end }]);
    expect(held).toEqual([]);
    expect(solo.leader.refusalOfReads(15)?.reason).toBe('PARTITION_UNAVAILABLE');
    solo.leader.leaveOffice();
    expect(reasonOf(held)).toBe('NOT_LEADER');
    expect(solo.leader.read(key, keyHash(key))).toMatchObject({ version: { seq: 2 } });
  });

  it('that nobody completes is taken back by rewriting the record first', () => {
    const { solo, b } = openPair();
    const outcomes: unknown[] = [];
    solo.leader.handOver({ target: memberOf('b').replica, holdMs: 100 }, momentAt(10), (outcome) => outcomes.push(outcome));
    expect(outcomes).toHaveLength(1);
    const held = solo.write('k', setTo('2'), momentAt(12));
    solo.leader.tick(momentAt(111));
    expect(solo.changes.map(({ record }) => record.inSync.length)).toEqual([2]);
    expect(solo.leader.hasLease(112)).toBe(false);
    solo.leader.onChangeOutcome(solo.changes[0]!, { kind: 'succeeded', modRevision: 9 }, 113);
    solo.leader.tick(momentAt(120));
    b.receive(121);
    b.acknowledge(122);
    expect(reasonOf(held)).toBe('done');
  });

  it('is kept when the log is not committed in time, and the held writes go on', () => {
    const { solo, b } = openPair();
    solo.write('k', setTo('1'), momentAt(10));
    const outcomes: { kind: string }[] = [];
    solo.leader.handOver({ target: memberOf('b').replica, holdMs: 100 }, momentAt(11), (outcome) => outcomes.push(outcome));
    const held = solo.write('k', setTo('2'), momentAt(12));
    solo.leader.tick(momentAt(111));
    expect(outcomes).toEqual([{ kind: 'kept', problem: 'the log was not committed in time' }]);
    b.receive(121);
    b.acknowledge(122);
    expect(reasonOf(held)).toBe('done');
  });

  it('is kept when the target leaves the set by a change that was under way', () => {
    const { solo, b } = openPair();
    solo.write('k', setTo('1'), momentAt(10));
    solo.leader.tick(momentAt(700));
    const outcomes: unknown[] = [];
    solo.leader.handOver({ target: memberOf('b').replica, holdMs: 100 }, momentAt(701), (outcome) => outcomes.push(outcome));
    solo.leader.onChangeOutcome(solo.changes[0]!, { kind: 'succeeded', modRevision: 2 }, 702);
    b.subscribe(703);
    b.receive(703);
    b.acknowledge(704);
    expect(outcomes).toEqual([]);
    solo.leader.tick(momentAt(705));
    expect(outcomes).toEqual([{ kind: 'kept', problem: 'the record changed' }]);
  });

  it('is refused for a target that is not in sync', () => {
    const { solo } = openPair();
    const outcomes: unknown[] = [];
    solo.leader.handOver({ target: memberOf('c').replica, holdMs: 100 }, momentAt(11), (outcome) => outcomes.push(outcome));
    expect(outcomes).toEqual([{ kind: 'kept', problem: 'the target is not in sync' }]);
  });
});

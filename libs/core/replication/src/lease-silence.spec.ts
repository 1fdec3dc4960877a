import { follow, momentAt, openState, recordOf, takeOffice } from './testing/solo.ts';

// heartbeats every 100 ms, time-out 600, lease 1000; b reads the log and acknowledges all of it at once
describe('a member that grants no lease (R24)', () => {
  function open(grantedUntilMs: { value: number }) {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }), leaseUntilMs: () => grantedUntilMs.value });
    const b = follow(solo, openState('b'));
    b.subscribe(0);
    b.receive(0);
    b.acknowledge(0);
    const inSync = () => solo.changes.map(({ record }) => record.inSync.map(({ node }) => node).join());
    const tick = (fromMs: number, toMs: number): void => {
      for (let nowMs = fromMs; nowMs <= toMs; nowMs += 100) solo.leader.tick(momentAt(nowMs));
    };
    return { solo, inSync, tick };
  }

  it('leaves the set before its last lease ends, however well it reads the log', () => {
    const lease = { value: 1000 };
    const { solo, inSync, tick } = open(lease);
    tick(100, 600);
    expect(inSync()).toEqual([]);
    expect(solo.leader.hasLease(600)).toBe(true);
    tick(700, 700);
    expect(inSync()).toEqual(['a']);
    expect(solo.leader.hasLease(700)).toBe(true);
  });

  it('does not come back while that lease still stands, idle as the partition may be', () => {
    const lease = { value: 1000 };
    const { solo, inSync, tick } = open(lease);
    tick(100, 700);
    solo.leader.onChangeOutcome(solo.changes[0]!, { kind: 'succeeded', modRevision: 2 }, 710);
    tick(800, 2500);
    expect(inSync()).toEqual(['a']);
  });

  it('comes back once it has granted leases and kept pace for a while again', () => {
    const lease = { value: 1000 };
    const { solo, inSync, tick } = open(lease);
    tick(100, 700);
    solo.leader.onChangeOutcome(solo.changes[0]!, { kind: 'succeeded', modRevision: 2 }, 710);
    tick(800, 1700);
    expect(inSync()).toEqual(['a']);
    lease.value = 2800;
    tick(1800, 1900);
    expect(inSync()).toEqual(['a', 'a,b']);
  });

  it('has the whole time-out from the beginning of an office, and again after the leader itself stood still', () => {
    const lease = { value: Number.NEGATIVE_INFINITY };
    const { inSync, tick } = open(lease);
    tick(100, 500);
    // a pause of 20 s: leases have run out meanwhile, by no fault of b
    tick(20_500, 21_000);
    expect(inSync()).toEqual([]);
    tick(21_100, 21_200);
    expect(inSync()).toEqual(['a']);
  });

  it('is not held responsible for leases that a clock jump voided (R17)', () => {
    const lease = { value: 1000 };
    const { solo, inSync, tick } = open(lease);
    tick(100, 500);
    lease.value = Number.NEGATIVE_INFINITY;
    solo.leader.onLeasesDropped(550);
    tick(600, 1100);
    expect(inSync()).toEqual([]);
    lease.value = 2100;
    tick(1200, 1600);
    expect(inSync()).toEqual([]);
    expect(solo.leader.hasLease(1600)).toBe(true);
  });
});

import { Dice, EventQueue } from '@atoll/core-replication/testing';
import { Network } from './network.ts';
import { SimClock } from './sim-clock.ts';
import { ETCD, SimEtcd, type TransactOutcome } from './sim-etcd.ts';
import { SimProcess } from './sim-process.ts';

describe('SimEtcd', () => {
  let events: EventQueue;
  let network: Network;
  let etcd: SimEtcd;
  let process: SimProcess;
  let outcomes: string[];

  const clock = () => new SimClock({ now: () => events.nowMs, rate: 1, startMs: 0 });
  const swap = (modRevision: number, value: string): void =>
    etcd.transact(process, [{ key: 'k', modRevision }], [{ key: 'k', value }], ({ kind }: TransactOutcome) => void outcomes.push(`${value} ${kind}`));

  beforeEach(() => {
    events = new EventQueue();
    const dice = new Dice(1);
    network = new Network({ events, dice, delayMsMax: 5 });
    network.isRough = false;
    etcd = new SimEtcd({ events, dice, network, onChange: () => undefined });
    process = new SimProcess({ id: 'n1', incarnation: 'i', clock: clock(), events });
    outcomes = [];
  });

  it('compares before it swaps', () => {
    swap(0, 'a');
    events.runUntil(100);
    swap(0, 'b');
    swap(etcd.get('k')!.modRevision, 'c');
    events.runUntil(200);
    expect(outcomes.toSorted()).toEqual(['a succeeded', 'b refused', 'c succeeded']);
  });

  it('may apply what it does not answer, also long after it was given up (R7)', () => {
    etcd.isLossy = true;
    const seen = new Set<string>();
    for (let round = 0; round < 200; round += 1) {
      outcomes = [];
      const before = etcd.get('k')?.modRevision ?? 0;
      swap(before, `v${round}`);
      events.runUntil(events.nowMs + 600);
      const isAppliedAtOnce = (etcd.get('k')?.modRevision ?? 0) > before;
      events.runUntil(events.nowMs + 4000);
      const isApplied = (etcd.get('k')?.modRevision ?? 0) > before;
      seen.add(`${outcomes[0]?.split(' ')[1]} ${isAppliedAtOnce ? 'at once' : isApplied ? 'late' : 'never'}`);
    }
    expect([...seen].toSorted()).toEqual(['succeeded at once', 'unknown at once', 'unknown late', 'unknown never']);
  });

  it('answers nothing while it is away, and keeps the leases', () => {
    const lease = etcd.grantLease(1000);
    etcd.transact(process, [], [{ key: 'leased', value: 1, lease }], () => undefined);
    events.runUntil(100);
    etcd.isAway = true;
    swap(0, 'a');
    events.runUntil(5000);
    expect(outcomes).toEqual(['a unknown']);
    etcd.isAway = false;
    events.runUntil(5500);
    expect(etcd.get('leased')).toBeDefined();
    events.runUntil(7000);
    expect(etcd.get('leased')).toBeUndefined();
  });

  it('tells watchers all of it in order, behind a cut as well', () => {
    const seen: unknown[] = [];
    etcd.seed('k', 'first');
    etcd.watch(process, (batch) => seen.push(...batch.map(({ stored }) => stored?.value)));
    events.runUntil(50);
    network.cut(ETCD, 'n1');
    for (const value of ['a', 'b', 'c']) etcd.seed('k', value);
    events.runUntil(1000);
    expect(seen).toEqual(['first']);
    network.heal(ETCD, 'n1');
    events.runUntil(2000);
    expect(seen).toEqual(['first', 'a', 'b', 'c']);
  });
});

import { Dice, EventQueue } from '@atoll/core-replication/testing';
import { ELECTION_KEY, REGRESSED_KEY, specKey } from '../names.ts';
import { GuardedEtcd } from './guarded-etcd.ts';
import { Network } from './network.ts';
import { SimClock } from './sim-clock.ts';
import { SimEtcd, type TransactOutcome } from './sim-etcd.ts';
import { SimProcess } from './sim-process.ts';

const KEY = specKey('n1');

describe('etcd that goes back, for a process with a memory (R13)', () => {
  let events: EventQueue;
  let etcd: SimEtcd;
  const open = (id: string) => {
    const clock = new SimClock({ now: () => events.nowMs, rate: 1, startMs: 0 });
    const process = new SimProcess({ id, incarnation: id, clock, events });
    const shown: unknown[] = [];
    const guard = new GuardedEtcd({ etcd, process, onEvents: (told) => void shown.push(...told.filter(({ key }) => key === KEY).map(({ stored }) => stored?.value)) });
    return { process, shown, guard };
  };
  const write = (guard: GuardedEtcd, value: string): string[] => {
    const outcomes: string[] = [];
    guard.transact([], [{ key: KEY, value }], ({ kind }: TransactOutcome) => void outcomes.push(kind));
    events.runUntil(events.nowMs + 1000);
    return outcomes;
  };

  beforeEach(() => {
    events = new EventQueue();
    const dice = new Dice(1);
    const network = new Network({ events, dice, delayMsMax: 5 });
    network.isRough = false;
    etcd = new SimEtcd({ events, dice, network, onChange: () => undefined });
  });

  it('counts as away until it is recovered above everything that was seen', () => {
    const { shown, guard } = open('a');
    expect(write(guard, 'old')).toEqual(['succeeded']);
    expect(write(guard, 'new')).toEqual(['succeeded']);
    const { revision } = guard.word.mark;
    expect(etcd.setBack(1000)).toBe(true);
    events.runUntil(events.nowMs + 1000);
    expect(etcd.get(KEY)?.value).toBe('old');
    expect(guard.isRegressed).toBe(true);
    expect(write(guard, 'other')).toEqual(['refused']);
    const found: unknown[] = [];
    guard.read(() => etcd.get(KEY), (stored) => void found.push(stored));
    etcd.recover(revision + 1, [{ key: KEY, value: 'new' }], ELECTION_KEY);
    events.runUntil(events.nowMs + 2000);
    expect(found).toEqual([undefined]);
    expect(guard.isRegressed).toBe(false);
    expect(shown).toEqual(['old', 'new', 'new']);
    expect(write(guard, 'newest')).toEqual(['succeeded']);
  });

  it('refuses also those who remember nothing, once somebody has noticed', () => {
    const { guard } = open('a');
    write(guard, 'old');
    write(guard, 'new');
    etcd.setBack(1000);
    events.runUntil(events.nowMs + 1000);
    expect(etcd.get(REGRESSED_KEY)).toBeDefined();
    const late = open('b');
    events.runUntil(events.nowMs + 100);
    expect(late.guard.isRegressed).toBe(true);
    expect(late.shown).toEqual([]);
    expect(write(late.guard, 'other')).toEqual(['refused']);
  });

  it('is believed by nobody who hears of a higher mark', () => {
    const { guard } = open('a');
    write(guard, 'old');
    const behind = open('b');
    events.runUntil(events.nowMs + 1000);
    behind.guard.hear({ mark: { revision: 1000, changeRevision: 1000 }, reasons: [] });
    events.runUntil(events.nowMs + 1000);
    expect(behind.guard.isRegressed).toBe(true);
  });
});

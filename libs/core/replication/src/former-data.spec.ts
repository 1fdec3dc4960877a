import { compareHash, keyHash } from '@atoll/core-runtime';
import type { DiscardReport } from './former-data.ts';
import type { ReplicaState } from './replica-state.ts';
import { GENERATION, follow, momentAt, openState, recordOf, setTo, takeOffice, type SoloLeader } from './testing/solo.ts';

const AFTER_RESET = { counter: 2, id: 'g2' };

/** A leader of the first generation that has written `values`. */
function formerLeader(values: Readonly<Record<string, string>>, options: { memoryBytes?: number } = {}): SoloLeader {
  const solo = takeOffice({ state: openState('a', options), record: recordOf({ leader: 'a', inSync: ['a'] }) });
  for (const [key, value] of Object.entries(values)) solo.write(key, setTo(value), momentAt(1));
  return solo;
}

/** A leader of the generation behind it: empty, or with what `source` held (R3, R15). */
function nextLeader(source?: ReplicaState): SoloLeader {
  const state = source ?? openState('b', { origin: { generation: AFTER_RESET, applied: { epoch: 0, seq: 0 }, installed: true } });
  source?.continueAs(AFTER_RESET, 1);
  const versioned = recordOf({ leader: 'b', inSync: ['b'], learners: ['a'], epoch: 5 });
  return takeOffice({ state, record: { ...versioned, record: { ...versioned.record, generation: AFTER_RESET } } });
}

/** The old replica comes back as a learner, is ordered to install, and gets everything in chunks of `entriesMax`. */
function installAt(leader: SoloLeader, state: ReplicaState, entriesMax = 1000): void {
  const learner = follow(leader, state);
  expect(learner.subscribe(10).kind).toBe('install');
  for (let from = state.install?.next; from !== undefined; from = state.install?.next) {
    const { entries, next } = leader.state.store.readRange(from, undefined, { entriesMax, bytesMax: 1 << 20 });
    learner.follower.onChunk({ from, to: next, readSeq: leader.state.appliedSeq, entries }, leader.leader.epoch);
  }
  learner.receive(10);
  expect(state.isInstalled).toBe(true);
}

function compareAll(state: ReplicaState, entriesMax = 2): DiscardReport | undefined {
  for (;;) {
    const step = state.compareFormer(entriesMax, 20);
    if (step !== 'more') return step === 'waiting' ? undefined : step;
  }
}

const keysOf = (report: DiscardReport | undefined): string[] => (report?.listed ?? []).map(({ key }) => key.toString()).sort();

describe('what a replica held of another lineage (R3, R15)', () => {
  it('is told as discarded where nothing, and as superseded where a newer write stands', () => {
    const old = formerLeader({ k1: 'old', k2: 'old', k3: 'old' });
    const next = nextLeader();
    next.write('k2', setTo('new'), momentAt(2));
    next.write('k4', setTo('new'), momentAt(2));
    installAt(next, old.state);
    const report = compareAll(old.state);
    expect(report).toMatchObject({ generation: GENERATION, discarded: 2, superseded: 1, kept: 0, unknown: 0 });
    expect(keysOf(report)).toEqual(['k1', 'k3']);
    expect(report?.listed[0]).toMatchObject({ version: { generation: 1, epoch: 1 }, isCompared: true });
    expect(report?.listed[0]?.bytes).toBeGreaterThan(0);
  });

  it('is never in the way of what takes its place (R1)', () => {
    const old = formerLeader({ k1: 'old', k2: 'old' });
    const next = nextLeader();
    next.write('k2', setTo('new'), momentAt(2));
    installAt(next, old.state);
    expect(old.state.store.entryCount).toBe(1);
    expect(old.state.store.digest()).toEqual(next.state.store.digest());
    compareAll(old.state);
    expect(old.state.store.digest()).toEqual(next.state.store.digest());
  });

  it('counts as kept what an unclean recovery went on with; a write that its source missed is discarded, over an older one, too', () => {
    // 1. a leads, b follows; b is cut off behind k1 and k2
    const a = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'], learners: ['b'] }) });
    const b = follow(a, openState('b', { origin: { generation: GENERATION, applied: { epoch: 0, seq: 0 }, installed: true } }));
    b.subscribe(0);
    for (const key of ['k1', 'k2']) a.write(key, setTo('both'), momentAt(1));
    b.receive(1);
    // 2. a alone takes two more writes, and is lost
    a.write('k2', setTo('only a'), momentAt(2));
    a.write('k3', setTo('only a'), momentAt(2));
    // 3. an operator has b go on; a comes back
    installAt(nextLeader(b.state), a.state);
    const report = compareAll(a.state);
    expect(report).toMatchObject({ discarded: 2, superseded: 0, kept: 1, unknown: 0 });
    expect(keysOf(report)).toEqual(['k2', 'k3']);
  });

  it('has what the log held behind the commit position: it may have been acknowledged', () => {
    const a = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'], learners: ['b'] }) });
    const b = follow(a, openState('b'));
    b.subscribe(0);
    a.write('k1', setTo('appended'), momentAt(1));
    const run = a.leader.nextMessage(a.leader.follower(b.member.replica)!, 1 << 20, 1);
    if (run === undefined || !('append' in run)) throw new Error('nothing was sent');
    b.follower.onAppend({ ...run.append, commitSeq: 0 }, 1);
    expect(b.state.store.entryCount).toBe(0);
    installAt(nextLeader(), b.state);
    expect(keysOf(compareAll(b.state))).toEqual(['k1']);
  });

  it('is compared sub-range by sub-range, no further than the install has come (R33)', () => {
    const keys = ['k1', 'k2', 'k3', 'k4'].sort((x, y) => compareHash(keyHash(Buffer.from(x)), keyHash(Buffer.from(y))));
    const old = formerLeader(Object.fromEntries(keys.map((key) => [key, 'old'])));
    const next = nextLeader();
    const learner = follow(next, old.state);
    learner.subscribe(10);
    expect(old.state.compareFormer(10, 20)).toBe('waiting');
    const to = keyHash(Buffer.from(keys[2]!));
    learner.follower.onChunk({ from: { high: 0, low: 0 }, to, readSeq: next.state.appliedSeq, entries: [] }, next.leader.epoch);
    expect(old.state.compareFormer(10, 20)).toBe('waiting');
    expect(old.state.hasFormer).toBe(true);
    // The stream breaks, another one begins anew: what is compared stays compared.
    learner.subscribe(11);
    learner.follower.onChunk({ from: old.state.install!.next!, to: undefined, readSeq: next.state.appliedSeq, entries: [] }, next.leader.epoch);
    learner.receive(12);
    expect(keysOf(compareAll(old.state))).toEqual([...keys].sort());
    expect(old.state.hasFormer).toBe(false);
  });

  it('leaves out what had expired (R23)', () => {
    const old = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }) });
    const now = momentAt(1);
    old.write('short', setTo('v', now.wallMs + 5), now);
    old.write('long', setTo('v', now.wallMs + 60_000), now);
    installAt(nextLeader(), old.state);
    expect(keysOf(compareAll(old.state))).toEqual(['long']);
  });

  it('gives its memory back as it is compared, and at once when it is given up', () => {
    const values = Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`k${index}`, 'v'.repeat(100)]));
    const old = formerLeader(values);
    const next = nextLeader();
    installAt(next, old.state);
    expect(old.state.compareFormer(20, 20)).toBe('more');
    const report = old.state.giveUpFormer();
    expect(report).toMatchObject({ discarded: 20, unknown: 30 });
    expect(report?.listed.filter(({ isCompared }) => isCompared)).toHaveLength(20);
    expect(report?.listed).toHaveLength(50);
    expect(old.state.store.liveBytes).toBe(0);
    expect(old.state.hasFormer).toBe(false);
  });

  it('is nothing within one lineage: a full sync there compares nothing', () => {
    const a = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'], learners: ['b'] }) });
    for (const key of ['k1', 'k2']) a.write(key, setTo('v'), momentAt(1));
    const b = follow(a, openState('b', { origin: { generation: GENERATION, applied: { epoch: 0, seq: 0 }, installed: false } }));
    const { store } = b.state;
    installAt(a, b.state);
    expect(b.state.hasFormer).toBe(false);
    expect(b.state.store).toBe(store);
    expect(b.state.compareFormer(10, 20)).toBeUndefined();
  });
});

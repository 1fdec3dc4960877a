import { KIB, MIB, keyHash } from '@atoll/core-runtime';
import type { EntryVersion } from '@atoll/core-store';
import type { ReplicaState } from '../replica-state.ts';
import { GENERATION, WALL_MS, follow, momentAt, openState, recordOf, setTo, takeOffice } from '../testing/solo.ts';
import { newestWatched, oldestWatched, placeWatch, readChanges, type Change } from './change-reader.ts';

const NO_LIMITS = { entriesMax: 1000, bytesMax: MIB };

/** Changes behind `from`, each as "seq kind key=value", and where that ended. */
function changesBehind(state: ReplicaState, from: EntryVersion, limits = NO_LIMITS): { readonly changes: string[]; readonly end: EntryVersion } {
  const changes: string[] = [];
  const end = readChanges(state, from, limits, ({ kind, key, value, version }: Change) => {
    changes.push(`${version.seq} ${kind} ${Buffer.from(key).toString()}${kind === 'put' ? `=${Buffer.from(value).toString()}` : ''}`);
    return key.length + value.length;
  });
  return { changes, end };
}

const version = (epoch: number, seq: number, generation = 1): EntryVersion => ({ generation, epoch, seq });
const START = version(0, 0);

describe('reading a log for those who watch (R36)', () => {
  it('tells puts, deletes and expiries with their keys, in order; office entries only move the position', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }) });
    solo.write('a', setTo('1', WALL_MS + 50), momentAt(1));
    solo.write('b', setTo('2', WALL_MS + 50), momentAt(1));
    solo.write('c', setTo('3'), momentAt(2));
    solo.write('c', { kind: 'delete' }, momentAt(3));
    solo.leader.tick(momentAt(100));
    const { changes, end } = changesBehind(solo.state, START);
    expect(changes.slice(0, 4)).toEqual(['2 put a=1', '3 put b=2', '4 put c=3', '5 delete c']);
    expect(changes.slice(4).sort()).toEqual(['6 expire a', '6 expire b']);
    expect(end).toEqual(newestWatched(solo.state));
  });

  it('tells evictions before the write that needed the room (R22)', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }), settings: { freeBytes: () => 0 } });
    solo.state.store.put({ key: Buffer.from('old'), hash: keyHash(Buffer.from('old')), value: Buffer.alloc(200), version: version(0, 0), expiresAtMs: 0 });
    solo.write('new', setTo('v'), momentAt(1));
    expect(changesBehind(solo.state, START).changes).toEqual(['2 evict old', '2 put new=v']);
  });

  it('shows nothing that is not committed', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }) });
    const follower = follow(solo, openState('b'));
    follower.subscribe(0);
    follower.receive(0);
    follower.acknowledge(0);
    solo.write('k', setTo('v'), momentAt(1));
    expect(changesBehind(solo.state, START).changes).toEqual([]);
    follower.receive(2);
    follower.acknowledge(2);
    expect(changesBehind(solo.state, START).changes).toEqual(['2 put k=v']);
  });

  it('stops at its limits and goes on from there, and never parts the changes of one entry', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }) });
    for (let index = 0; index < 10; index += 1) solo.write(`k${index}`, setTo('v'), momentAt(1));
    const all = changesBehind(solo.state, START).changes;
    for (const limits of [{ entriesMax: 3, bytesMax: MIB }, { entriesMax: 1000, bytesMax: 4 }]) {
      const seen: string[] = [];
      for (let at = START; at.seq < solo.state.appliedSeq; ) {
        const { changes, end } = changesBehind(solo.state, at, limits);
        seen.push(...changes);
        at = end;
      }
      expect(seen).toEqual(all);
    }
  });

  it('a position means the same at the next leader, also for keys that expired before its office', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }) });
    const follower = follow(solo, openState('b'));
    follower.subscribe(0);
    const exchange = (nowMs: number): void => {
      follower.receive(nowMs);
      follower.acknowledge(nowMs);
      follower.receive(nowMs);
    };
    exchange(0);
    solo.write('a', setTo('1', WALL_MS + 50), momentAt(1));
    exchange(2);
    const seen = newestWatched(solo.state);
    solo.leader.tick(momentAt(100));
    solo.write('b', setTo('2'), momentAt(101));
    exchange(102);
    const next = takeOffice({ state: follower.state, record: recordOf({ leader: 'b', inSync: ['b'], epoch: 2, revision: 2 }), now: momentAt(200) });
    next.write('c', setTo('3'), momentAt(201));
    expect(placeWatch(next.state, seen)).toEqual({ kind: 'at' });
    expect(changesBehind(next.state, seen).changes).toEqual(['3 expire a', '4 put b=2', '6 put c=3']);
  });

  it('refuses a position that the log does not reach, and names the oldest that it does', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }), settings: { logBytesMax: 16 * KIB } });
    const early = newestWatched(solo.state);
    for (let index = 0; index < 500; index += 1) {
      solo.write(`k${index}`, setTo('v'.repeat(100)), momentAt(1));
      solo.leader.tick(momentAt(2));
    }
    expect(solo.state.log.base.seq).toBeGreaterThan(early.seq);
    const oldest = oldestWatched(solo.state);
    expect(placeWatch(solo.state, early)).toEqual({ kind: 'gap', reason: 'WATCH_COMPACTED', oldest });
    expect(placeWatch(solo.state, oldest)).toEqual({ kind: 'at' });
    expect(changesBehind(solo.state, oldest).changes).toHaveLength(501 - oldest.seq);
  });

  it.each<[string, EntryVersion, string]>([
    ['of an older generation', version(1, 1, 0), 'WATCH_RESET'],
    ['of a generation that is not known here yet', version(1, 1, 2), 'ahead'],
    ['behind what is applied', version(1, 99), 'ahead'],
    ['of an entry that stands in another log', version(7, 1), 'WATCH_RESET'],
  ])('judges a position %s', (_name, from, expected) => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }) });
    const place = placeWatch(solo.state, from);
    expect(place.kind === 'gap' ? place.reason : place.kind).toBe(expected);
  });

  it('does not tell of expiries that it saw while it was being filled: who watches begins behind them (R33)', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'], learners: ['b'] }) });
    solo.write('a', setTo('1', WALL_MS + 50), momentAt(1));
    const learner = follow(solo, openState('b', { origin: { generation: { counter: 0, id: '' }, applied: { epoch: 0, seq: 0 }, installed: false } }));
    expect(learner.subscribe(2).kind).toBe('install');
    const logStart = solo.state.appliedPosition;
    solo.leader.tick(momentAt(100));
    solo.write('b', setTo('2'), momentAt(101));
    learner.receive(102);
    const slice = solo.state.store.readRange({ high: 0, low: 0 }, undefined, { entriesMax: 100, bytesMax: MIB });
    learner.follower.onChunk({ from: { high: 0, low: 0 }, to: undefined, readSeq: solo.state.appliedSeq, entries: slice.entries }, 1);
    learner.acknowledge(103);
    learner.receive(103);
    expect(learner.state.hasAllData).toBe(true);
    const behindStart = { generation: GENERATION.counter, ...logStart };
    const place = placeWatch(learner.state, behindStart);
    expect(place).toMatchObject({ kind: 'gap', reason: 'WATCH_COMPACTED' });
    expect(changesBehind(learner.state, oldestWatched(learner.state)).changes).toEqual(['4 put b=2']);
  });
});

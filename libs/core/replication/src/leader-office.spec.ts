import { encodeEntry, encodedBytes, type LogEntry } from './log-entry.ts';
import { SimulatedDisk } from './testing/simulated-disk.ts';
import { Dice } from './testing/dice.ts';
import { EventQueue } from './testing/event-queue.ts';
import { WALL_MS, memberOf, momentAt, openState, recordOf, setTo, takeOffice } from './testing/solo.ts';

const encoded = (entry: LogEntry): Buffer => {
  const bytes = Buffer.alloc(encodedBytes(entry));
  encodeEntry(entry, bytes, 0);
  return bytes;
};

const officeEntry = (epoch: number, seq: number, stampMs: number): Buffer =>
  encoded({ epoch, seq, stampMs, opId: undefined, evicted: [], operation: { kind: 'office' } });

describe('taking office', () => {
  it('begins behind the time of what it inherited, though its own clock is behind (R23)', () => {
    // 1. a leader with a clock one minute ahead stamped entry 1
    const state = openState('a');
    state.appendEncoded(officeEntry(1, 1, WALL_MS + 60_000));
    // 2. its follower, which has not applied the entry, is promoted; its wall clock is right
    takeOffice({ state, record: recordOf({ leader: 'a', inSync: ['a', 'b'], epoch: 2 }), now: momentAt(0) });
    // 3. the partition's time does not go back
    expect(state.log.entryAt(2).stampMs).toBeGreaterThanOrEqual(state.log.entryAt(1).stampMs);
  });

  it('begins behind the time of entries that the disk kept (R23)', () => {
    const state = openState('a');
    state.restoreEntries([{ lastSeq: 1, bytes: officeEntry(1, 1, WALL_MS + 60_000) }], 0, 0);
    takeOffice({ state, record: recordOf({ leader: 'a', inSync: ['a'], epoch: 2 }), now: momentAt(0) });
    expect(state.log.entryAt(2).stampMs).toBeGreaterThanOrEqual(WALL_MS + 60_000);
  });
});

describe('leaving office', () => {
  it('commits nothing when answers of etcd or of the disk come late', () => {
    // 1. a leader alone in sync, with SYNC: its entry waits for the disk
    const events = new EventQueue();
    const disk = new SimulatedDisk({ events, dice: new Dice(1), image: SimulatedDisk.emptyImage(memberOf('a').replica) });
    const state = openState('a', { journal: disk, isSync: true });
    const solo = takeOffice({ state, record: recordOf({ leader: 'a', inSync: ['a'], learners: ['b'] }) });
    disk.connect(state, () => solo.leader.onDurable(events.nowMs));
    // 2. it loses the office; then the disk has the entry
    solo.leader.leaveOffice();
    events.runUntil(100);
    expect(state.appendedSeq).toBe(1);
    // 3. whether the entry is committed is for the new leader to say
    expect(state.appliedSeq).toBe(0);
  });

  it('takes no write and answers those that wait as in doubt (R20)', () => {
    const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }) });
    solo.leader.onRecord(recordOf({ leader: 'a', inSync: ['a', 'b'], revision: 2 }), 5);
    const waiting = solo.write('key', setTo('x'), momentAt(10));
    expect(waiting).toEqual([]);
    solo.leader.leaveOffice();
    expect(waiting.map((outcome) => outcome.kind === 'failed' && outcome.reason)).toEqual(['WRITE_IN_DOUBT']);
    const late = solo.write('key', setTo('y'), momentAt(20));
    expect(late.map((outcome) => outcome.kind === 'failed' && outcome.reason)).toEqual(['NOT_LEADER']);
    expect(solo.state.log.end.seq).toBe(2);
  });
});

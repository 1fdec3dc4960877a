import { encodeEntry, encodedBytes, type LogEntry } from './log-entry.ts';
import { WALL_MS, momentAt, openState, recordOf, takeOffice } from './testing/solo.ts';

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

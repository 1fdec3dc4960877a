import { SeededRandom, keyHash, randomBelow } from '@atoll/core-runtime';
import { FIRST_HASH, PartitionStore, StoreMemory } from '@atoll/core-store';
import { decodeEntry, encodeEntry, encodedBytes, entryBytesAt, type LogEntry } from '../log-entry.ts';
import { momentAt, openState, recordOf, setTo, takeOffice } from '../testing/solo.ts';
import { compactLog, summarizeRun } from './compact-log.ts';

const ALL = { entriesMax: 1e6, bytesMax: 1e9 };
const openStore = (): PartitionStore => new PartitionStore({ account: new StoreMemory({ bytesMax: 1e8 }).openAccount('x', 1), random: new SeededRandom(1) });
const content = (store: PartitionStore): string[] => store.readRange(FIRST_HASH, undefined, ALL).entries.map(({ key, value, version, expiresAtMs }) => `${Buffer.from(key).toString()}=${value.toString()}@${version.seq} until ${expiresAtMs}`);

/** As a restore applies an increment: of each window its expiry records, then its rows. */
function apply(store: PartitionStore, runs: readonly Buffer[]): void {
  const window = compactLog(runs, 1);
  for (const bytes of window.expiries) {
    const { operation } = decodeEntry(bytes, 0);
    if (operation.kind === 'expire') store.removeExpired(operation.from, operation.to, operation.watermarkMs, () => undefined);
  }
  for (const { key, hash, value, version, expiresAtMs, isDeleted } of window.rows) {
    if (isDeleted === true) store.delete(key, hash);
    else store.put({ key, hash, value, version, expiresAtMs });
  }
}

describe('an increment of a partition (R39)', () => {
  it('comes to what the log comes to, whatever expires, is deleted or evicted, and wherever windows end (seeds 0 to 29)', () => {
    let expiries = 0;
    for (let seed = 0; seed < 30; seed += 1) {
      const random = new SeededRandom(seed);
      // Room for some 30 entries: others are evicted.
      const solo = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }), settings: { freeBytes: () => 4000 - solo?.state.store.liveBytes } });
      let nowMs = 0;
      const write = (): void => {
        nowMs += 1;
        const expiresAtMs = randomBelow(random, 3) === 0 ? momentAt(nowMs + randomBelow(random, 40)).wallMs : 0;
        solo.write(`key-${randomBelow(random, 60)}`, randomBelow(random, 6) === 0 ? { kind: 'delete' } : setTo(`v${nowMs}`, expiresAtMs), momentAt(nowMs));
        if (randomBelow(random, 8) === 0) solo.leader.tick(momentAt(nowMs));
      };
      for (let index = 0; index < 100; index += 1) write();
      const { state } = solo;
      const restored = openStore();
      for (const entry of state.store.readRange(FIRST_HASH, undefined, ALL).entries) restored.put({ ...entry, key: Buffer.from(entry.key), value: Buffer.from(entry.value) });
      const fromSeq = state.log.end.seq;
      for (let index = 0; index < 300; index += 1) write();
      for (let seq = fromSeq + 1; seq <= state.appliedSeq; ) {
        const runs: Buffer[] = [];
        const last = Math.min(state.appliedSeq, seq + randomBelow(random, 80));
        for (; seq <= last; seq += 1) {
          const entry = state.log.entryAt(seq);
          if (entry.operation.kind === 'expire') expiries += 1;
          runs.push(encoded(entry));
        }
        apply(restored, runs);
      }
      expect({ seed, content: content(restored) }).toEqual({ seed, content: content(state.store) });
    }
    expect(expiries).toBeGreaterThan(50);
  });

  it('has of each key its newest version alone, in the order of hashes, and deletes as such', () => {
    const put = (seq: number, key: string, value: string): Buffer => encoded({ ...at(seq), operation: { kind: 'put', key: Buffer.from(key), value: Buffer.from(value), expiresAtMs: 0 } });
    const window = compactLog([Buffer.concat([put(1, 'a', '1'), put(2, 'b', '1'), put(3, 'a', '2')]), encoded({ ...at(4), operation: { kind: 'delete', key: Buffer.from('b') } }), encoded({ ...at(5), operation: { kind: 'marker' } })], 7);
    const rows = new Map(window.rows.map(({ key, value, version, isDeleted }) => [Buffer.from(key).toString(), [value.toString(), version, isDeleted === true]]));
    expect([rows.get('a'), rows.get('b'), rows.size]).toEqual([
      ['2', { generation: 7, epoch: 1, seq: 3 }, false],
      ['', { generation: 7, epoch: 1, seq: 4 }, true],
      2,
    ]);
    expect([window.entries, window.deletes, window.expiries]).toEqual([5, 1, []]);
    const hashes = window.rows.map(({ hash }) => hash.high);
    expect(hashes).toEqual([...hashes].sort((x, y) => x - y));
    expect(window.rows.every(({ key, hash }) => keyHash(key).high === hash.high)).toBe(true);
  });

  it('says of a run what it covers, and whether it changes anything', () => {
    const quiet = Buffer.concat([encoded({ ...at(3), operation: { kind: 'office' } }), encoded({ ...at(4), operation: { kind: 'marker' } })]);
    expect(summarizeRun(quiet)).toEqual({ entries: 2, firstSeq: 3, lastSeq: 4, firstMs: 1003, lastMs: 1004, isChanging: false });
    expect(summarizeRun(encoded({ ...at(5), evicted: [Buffer.from('k')], operation: { kind: 'marker' } })).isChanging).toBe(true);
  });
});

const at = (seq: number): Omit<LogEntry, 'operation'> => ({ epoch: 1, seq, stampMs: 1000 + seq, opId: undefined, evicted: [] });

function encoded(entry: LogEntry): Buffer {
  const bytes = Buffer.alloc(encodedBytes(entry));
  encodeEntry(entry, bytes, 0);
  expect(entryBytesAt(bytes, 0)).toBe(bytes.length);
  return bytes;
}

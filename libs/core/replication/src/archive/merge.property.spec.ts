// Entries of an archive come into a partition that clients write to, from runs of a restore of which each is killed some day: the next one
// goes on a little before the place where it was, under a higher fencing token, and what the former one sent comes in late, or twice.
//
// What must hold (docs/design/restore.md):
//   M1  an entry that was written since the archive was made is never replaced, whatever comes when
//   M2  a key without an entry gets that of the archive, with its expiry, unless this has expired (I7)
//   M3  when the restore has ended, nothing of it changes anything any more: what clients delete then stays deleted
//   M4  what no client touched is as in the archive, in the end
import { SeededRandom, keyHash, randomBelow } from '@atoll/core-runtime';
import { FIRST_HASH, isExpired, type MergeOutcome, type StoredEntry } from '@atoll/core-store';
import { follow, momentAt, openState, recordOf, setTo, takeOffice, type SoloFollower, type SoloLeader } from '../testing/solo.ts';
import type { WriteOutcome } from '../uncommitted.ts';

const SEEDS = 40;
const KEYS = 30;
const ALL = { entriesMax: 10_000, bytesMax: 1024 * 1024 };
/** Writes that the archive has; those behind the first part were lost here, as by an unclean recovery. */
const ARCHIVED_WRITES = 60;

interface Row extends StoredEntry {
  readonly key: Buffer;
  readonly keyText: string;
}

class MergeWorld {
  readonly random: SeededRandom;
  readonly rows: readonly Row[];
  readonly touched = new Set<string>();
  a: SoloLeader;
  readonly #b: SoloFollower;
  nowMs = 10_000;
  /** Of the run that is alive, and the row that it comes to next. */
  token = 100;
  at = 0;
  isEnded = false;
  /** Requests that are on their way still. */
  readonly late: { readonly row: Row; readonly token: number }[] = [];
  readonly told: Partial<Record<MergeOutcome | 'refused', number>> = {};

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    const lost = randomBelow(this.random, ARCHIVED_WRITES / 2);
    const whole = takeOffice({ state: openState('w'), record: recordOf({ leader: 'w', inSync: ['w'] }) });
    const served = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }) });
    for (let index = 0; index < ARCHIVED_WRITES; index += 1) {
      const [key, command] = this.#drawWrite(index);
      whole.write(key, command, momentAt(index + 1));
      if (index < ARCHIVED_WRITES - lost) served.write(key, command, momentAt(index + 1));
    }
    this.rows = whole.state.store.readRange(FIRST_HASH, undefined, ALL).entries.map((entry) => ({ ...entry, key: Buffer.from(entry.key), value: Buffer.from(entry.value), keyText: Buffer.from(entry.key).toString() }));
    served.leader.leaveOffice();
    this.a = takeOffice({ state: served.state, record: recordOf({ leader: 'a', inSync: ['a', 'b'], epoch: 2, revision: 2 }), now: momentAt(this.nowMs) });
    this.#b = follow(this.a, openState('b'));
    this.#b.subscribe(this.nowMs);
    this.commit();
  }

  /** What the follower lacks comes to it: all that was appended is committed. */
  commit(): void {
    this.#b.receive(this.nowMs);
    this.#b.acknowledge(this.nowMs);
  }

  clientWrites(): void {
    const [key, command] = this.#drawWrite(this.nowMs);
    this.touched.add(key);
    this.a.write(key, command, this.#now());
  }

  /** The run that is alive sends its next row; now and then it arrives later, or twice. */
  send(): void {
    const row = this.rows[this.at]!;
    const dice = randomBelow(this.random, 10);
    if (dice < 9) this.#arrive(row, this.token);
    if (dice >= 7) this.late.push({ row, token: this.token });
    // One that did not arrive is not answered either, and is sent again.
    if (dice < 9) this.at += 1;
    if (this.at === this.rows.length) this.#end();
  }

  kill(): void {
    if (this.isEnded) return;
    this.token += 10;
    this.at = Math.max(0, this.at - randomBelow(this.random, 6));
  }

  arriveLate(): void {
    const [late] = this.late.splice(randomBelow(this.random, this.late.length), 1);
    if (late !== undefined) this.#arrive(late.row, late.token);
  }

  pass(): void {
    this.nowMs += randomBelow(this.random, 40);
    if (randomBelow(this.random, 4) === 0) this.a.leader.tick(this.#now());
  }

  /** Newest state of a key, committed or not; undefined: it has no live entry. */
  live(key: Buffer): StoredEntry | undefined {
    const read = this.a.leader.read(key, keyHash(key));
    const entry = read !== undefined && 'kind' in read ? read.entry : read;
    return entry === undefined || isExpired(entry.expiresAtMs, this.timeMs) ? undefined : { ...entry, key: Buffer.from(entry.key), value: Buffer.from(entry.value) };
  }

  get timeMs(): number {
    return this.a.state.clock.lead(this.nowMs, this.#now().wallMs);
  }

  #now() {
    return momentAt(this.nowMs);
  }

  #arrive(row: Row, token: number): void {
    const before = this.live(row.key);
    const outcomes: WriteOutcome[] = [];
    const { key, value, expiresAtMs, version } = row;
    const fence = { lock: { kind: 'name', name: 'restore' }, token, isShared: false } as const;
    this.a.leader.write({ key, hash: keyHash(key), command: { kind: 'merge', value, expiresAtMs, version }, opId: undefined, ack: 'IN_SYNC', fence, evictsNothing: true }, this.#now(), (outcome) => {
      outcomes.push(outcome);
      const { answer } = outcome.kind === 'done' ? outcome : {};
      const told = answer?.kind === 'merge' ? answer.outcome : 'refused';
      this.told[told] = (this.told[told] ?? 0) + 1;
    });
    const [first] = outcomes;
    if (first?.kind === 'failed' && first.reason !== 'STALE_FENCING_TOKEN') throw new Error(`${row.keyText}: ${first.reason}`);
    this.#check(row, before, this.live(row.key), this.isEnded || token < this.token);
  }

  #check(row: Row, before: StoredEntry | undefined, after: StoredEntry | undefined, isOutdated: boolean): void {
    const isSame = before === undefined ? after === undefined : after !== undefined && after.version.epoch === before.version.epoch && after.version.seq === before.version.seq;
    const isRow = after !== undefined && after.value.equals(row.value) && after.expiresAtMs === row.expiresAtMs;
    const say = (what: string): never => {
      throw new Error(`${row.keyText} at ${this.nowMs}: ${what}`);
    };
    // A run that was killed may still be heard until the next one comes by; behind the end nobody is.
    if (this.isEnded && !isSame) say('changed behind the end (M3)');
    if (before?.version.epoch === 2 && !isSame) say('was written since, and replaced (M1)');
    if (before !== undefined && !isSame && (!isRow || row.version.seq <= before.version.seq)) say('was replaced by what is not newer (M1)');
    if (before === undefined && !isOutdated && !isExpired(row.expiresAtMs, this.timeMs) && !isRow) say('is lacking still, or is not as in the archive (M2)');
    if (after !== undefined && isExpired(after.expiresAtMs, this.timeMs)) say('has expired and is back (I7)');
  }

  /** The last thing that a restore does: a fence above its own token. */
  #end(): void {
    let isDone = false;
    const fence = { lock: { kind: 'name', name: 'restore' }, token: this.token + 1, isShared: false } as const;
    this.a.leader.readUnder(fence, { key: Buffer.alloc(0), hash: FIRST_HASH }, this.#now(), () => (isDone = true));
    this.commit();
    if (!isDone) throw new Error('the fence is not committed');
    this.isEnded = true;
  }

  #drawWrite(index: number): [string, Parameters<SoloLeader['write']>[1]] {
    const key = `key-${randomBelow(this.random, KEYS)}`;
    const expiresAtMs = randomBelow(this.random, 3) === 0 ? momentAt(10_000 + randomBelow(this.random, 2000)).wallMs : 0;
    const dice = randomBelow(this.random, 6);
    if (dice === 0) return [key, { kind: 'delete' }];
    if (dice === 1) return [key, { kind: 'touch', expiresAtMs }];
    return [key, setTo(`v${index}`, expiresAtMs)];
  }
}

describe('entries of an archive beside the writes of clients', () => {
  it(`lose none of these, come once, and come no more when the restore has ended (M1 to M4, I9; seeds 0 to ${SEEDS - 1})`, () => {
    const told: MergeWorld['told'] = {};
    for (let seed = 0; seed < SEEDS; seed += 1) {
      const world = new MergeWorld(seed);
      const { random } = world;
      for (let step = 0; step < 5000 && !world.isEnded; step += 1) {
        const dice = randomBelow(random, 24);
        if (dice < 8) world.send();
        else if (dice < 12) world.clientWrites();
        else if (dice === 12) world.kill();
        else if (dice < 16) world.arriveLate();
        else if (dice < 20) world.pass();
        else world.commit();
      }
      expect({ seed, isEnded: world.isEnded }).toEqual({ seed, isEnded: true });
      const shown = ({ value, expiresAtMs }: StoredEntry): string => `${value.toString()} until ${expiresAtMs}`;
      const untouched: { readonly seed: number; readonly key: string; readonly entry: string | undefined }[] = [];
      const expected: typeof untouched = [];
      for (const row of world.rows) {
        const live = world.live(row.key);
        world.a.write(row.keyText, { kind: 'delete' }, momentAt(world.nowMs));
        if (world.touched.has(row.keyText)) continue;
        // Of what has expired, an older entry may be there as it was: a restore removes nothing.
        const older = live?.version.epoch === 1 ? shown(live) : undefined;
        untouched.push({ seed, key: row.keyText, entry: live && shown(live) });
        expected.push({ seed, key: row.keyText, entry: isExpired(row.expiresAtMs, world.timeMs) ? older : shown(row) });
      }
      expect(untouched).toEqual(expected);
      while (world.late.length > 0) world.arriveLate();
      world.commit();
      expect({ seed, back: world.rows.filter(({ key }) => world.live(key) !== undefined).map(({ keyText }) => keyText) }).toEqual({ seed, back: [] });
      for (const [outcome, count] of Object.entries(world.told)) told[outcome as MergeOutcome] = (told[outcome as MergeOutcome] ?? 0) + count;
    }
    // The worlds went everywhere.
    for (const outcome of ['written', 'kept', 'same', 'expired', 'refused'] as const) expect([outcome, told[outcome]! > 50]).toEqual([outcome, true]);
  });

  it('evict nothing: where there is no room they are refused', () => {
    let freeBytes = 0;
    const { leader, state } = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }), settings: { freeBytes: () => freeBytes } });
    const merge = (key: string): WriteOutcome[] => {
      const outcomes: WriteOutcome[] = [];
      leader.write({ key: Buffer.from(key), hash: keyHash(Buffer.from(key)), command: { kind: 'merge', value: Buffer.alloc(100), expiresAtMs: 0 }, opId: undefined, ack: 'IN_SYNC', evictsNothing: true }, momentAt(1), (outcome) => outcomes.push(outcome));
      return outcomes;
    };
    freeBytes = 10_000;
    expect(merge('first')).toMatchObject([{ kind: 'done', answer: { kind: 'merge', outcome: 'written' } }]);
    freeBytes = 0;
    expect(merge('second')).toMatchObject([{ kind: 'failed', reason: 'MEMORY_EXHAUSTED' }]);
    expect(state.store.entryCount).toBe(1);
    // A client's write makes room as ever.
    const outcomes: WriteOutcome[] = [];
    leader.write({ key: Buffer.from('third'), hash: keyHash(Buffer.from('third')), command: setTo('x'), opId: undefined, ack: 'IN_SYNC' }, momentAt(2), (outcome) => outcomes.push(outcome));
    expect(outcomes).toMatchObject([{ kind: 'done' }]);
    expect(state.store.entryCount).toBe(1);
  });
});

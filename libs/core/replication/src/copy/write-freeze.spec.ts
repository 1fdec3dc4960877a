// How a partition of a source stands still, and how a partition of a copy stops being one (R37).
import { lastingFreeze, standbyFence, type VersionedRecord } from '@atoll/core-membership';
import { SeededRandom, keyHash, randomBelow } from '@atoll/core-runtime';
import { FIRST_HASH } from '@atoll/core-store';
import type { Fence } from '@atoll/core-locks';
import { follow, momentAt, openState, recordOf, setTo, takeOffice, type SoloLeader } from '../testing/solo.ts';
import type { WriteOutcome } from '../uncommitted.ts';
import { beginOfCopy, readSource, type SourcePlace } from './source-reader.ts';

const ALL = { entriesMax: 10_000, bytesMax: 1024 * 1024 };
const LIMITS = { log: ALL, slice: ALL };
const all = (): boolean => true;

const frozenRecord = (cutOver: string | undefined, options: Parameters<typeof recordOf>[0]): VersionedRecord => {
  const { record, modRevision } = recordOf(options);
  return { record: { ...record, frozen: cutOver }, modRevision };
};
const reasonOf = (outcome: WriteOutcome | undefined): string | undefined => (outcome?.kind === 'failed' ? outcome.reason : outcome?.kind);
const writeAs = ({ leader }: SoloLeader, name: string, counter: number, options: { readonly ageMs?: number; readonly fence?: Fence; readonly atMs?: number } = {}): WriteOutcome[] => {
  const outcomes: WriteOutcome[] = [];
  const key = Buffer.from(name);
  const opId = { clientId: Buffer.from('client-1'), counter };
  leader.write({ key, hash: keyHash(key), command: { kind: 'increment', delta: 1n, initial: 0n, expiresAtMs: 0 }, opId, repeatAgeMs: options.ageMs ?? 0, ack: 'IN_SYNC', fence: options.fence }, momentAt(options.atMs ?? 10), (outcome) => outcomes.push(outcome));
  return outcomes;
};

describe('a leader whose record is frozen (R37)', () => {
  const solo = (cutOver?: string): SoloLeader => takeOffice({ state: openState('a'), record: frozenRecord(cutOver, { leader: 'a', inSync: ['a'] }) });

  it('takes no write, gives it no seq, and is read', () => {
    const a = solo();
    a.write('k', setTo('v'), momentAt(1));
    a.leader.onRecord(frozenRecord('x', { leader: 'a', inSync: ['a'], revision: 2 }), 2);
    const end = a.state.log.end.seq;
    expect(reasonOf(a.write('k', setTo('w'), momentAt(3))[0])).toBe('PARTITION_UNAVAILABLE');
    a.leader.tick(momentAt(5000));
    expect(a.state.log.end.seq).toBe(end);
    expect(a.leader.refusalOfReads(3)).toBeUndefined();
    expect(a.state.store.get(Buffer.from('k'), keyHash(Buffer.from('k')))?.value.toString()).toBe('v');
  });

  it('gives its office to nobody, and takes writes again once its record is thawed', () => {
    const a = takeOffice({ state: openState('a'), record: frozenRecord('x', { leader: 'a', inSync: ['a', 'b'] }) });
    const kept: unknown[] = [];
    a.leader.handOver({ target: openState('b').identity.self.replica, holdMs: 100 }, momentAt(1), (outcome) => kept.push(outcome.kind));
    expect(kept).toEqual(['kept']);
    const alone = solo('x');
    expect(reasonOf(alone.write('k', setTo('v'), momentAt(1))[0])).toBe('PARTITION_UNAVAILABLE');
    alone.leader.onRecord(frozenRecord(undefined, { leader: 'a', inSync: ['a'], revision: 2 }), 2);
    expect(reasonOf(alone.write('k', setTo('v'), momentAt(3))[0])).toBe('done');
  });

  it('confirms with one barrier, for the cut-over that its record names alone, when all before it is committed', () => {
    const a = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }) });
    const b = follow(a, openState('b'));
    b.subscribe(0);
    b.receive(1);
    b.acknowledge(1);
    const outcomes = a.write('k', setTo('v'), momentAt(2));
    expect(a.leader.confirmFreeze('x', false, momentAt(3)).kind).toBe('not-yet');
    a.leader.onRecord(frozenRecord('x', { leader: 'a', inSync: ['a', 'b'], revision: 2 }), 3);
    expect(a.leader.confirmFreeze('y', false, momentAt(4)).kind).toBe('not-yet');
    expect(a.leader.confirmFreeze('x', false, momentAt(4))).toEqual({ kind: 'not-yet', problem: 'the barrier is not committed' });
    b.receive(5);
    b.acknowledge(5);
    expect(reasonOf(outcomes[0])).toBe('done');
    const { end } = a.state.log;
    expect(a.leader.confirmFreeze('x', false, momentAt(6))).toEqual({ kind: 'confirmed', position: end });
    expect(a.leader.confirmFreeze('x', false, momentAt(7))).toEqual({ kind: 'confirmed', position: end });
  });

  it('is read no more once it is sealed, until its record is thawed', () => {
    const a = solo('x');
    expect(a.leader.confirmFreeze('x', true, momentAt(1)).kind).toBe('confirmed');
    expect(a.leader.refusalOfReads(2)?.reason).toBe('PARTITION_UNAVAILABLE');
    a.leader.onRecord(frozenRecord('other', { leader: 'a', inSync: ['a'], revision: 2 }), 3);
    expect(a.leader.refusalOfReads(4)).toBeUndefined();
  });

  it('is neither read nor written once its record names a standby that takes its place, and says where its log ends (R15)', () => {
    const a = solo();
    a.write('k', setTo('v'), momentAt(1));
    const fence = standbyFence('1');
    a.leader.onRecord(frozenRecord(fence, { leader: 'a', inSync: ['a'], revision: 2 }), 2);
    expect([a.leader.refusalOfReads(3)?.reason, reasonOf(a.write('k', setTo('w'), momentAt(3))[0])]).toEqual(['PARTITION_UNAVAILABLE', 'KEYSPACE_FROZEN']);
    expect(a.leader.confirmFreeze(fence, false, momentAt(4))).toMatchObject({ kind: 'confirmed', position: a.state.log.end });
    // Whoever leads next finds it so.
    expect(solo(fence).leader.refusalOfReads(1)?.reason).toBe('PARTITION_UNAVAILABLE');
    a.leader.onRecord(frozenRecord(undefined, { leader: 'a', inSync: ['a'], revision: 3 }), 5);
    expect([a.leader.refusalOfReads(6), reasonOf(a.write('k', setTo('w'), momentAt(6))[0])]).toEqual([undefined, 'done']);
  });

  it('takes office frozen after a failover in the middle, with a barrier of its own (valkey#2724)', () => {
    const a = solo();
    a.write('k', setTo('v'), momentAt(1));
    a.leader.onRecord(frozenRecord('x', { leader: 'a', inSync: ['a'], revision: 2 }), 2);
    expect(a.leader.confirmFreeze('x', true, momentAt(3)).kind).toBe('confirmed');
    a.leader.leaveOffice();
    const next = takeOffice({ state: a.state, record: frozenRecord('x', { leader: 'a', inSync: ['a'], epoch: 2, revision: 3 }), now: momentAt(4) });
    expect(reasonOf(next.write('k', setTo('w'), momentAt(5))[0])).toBe('PARTITION_UNAVAILABLE');
    // A seal is of one office: whoever relies on it keeps leaders as they are.
    expect(next.leader.refusalOfReads(5)).toBeUndefined();
    expect(next.leader.confirmFreeze('x', false, momentAt(6))).toMatchObject({ kind: 'confirmed', position: { epoch: 2 } });
  });

  it('answers a repeat of a write that it has, and refuses one that it does not have (R21)', () => {
    const a = solo();
    expect(writeAs(a, 'n', 1)[0]).toMatchObject({ kind: 'done', answer: { value: 1n } });
    a.leader.onRecord(frozenRecord('x', { leader: 'a', inSync: ['a'], revision: 2 }), 2);
    expect(writeAs(a, 'n', 1, { ageMs: 50 })[0]).toMatchObject({ kind: 'done', answer: { value: 1n } });
    // What it does not have it says, if it knows so far back.
    expect(writeAs(a, 'n', 2, { ageMs: 50 })[0]).toMatchObject({ reason: 'PARTITION_UNAVAILABLE', metadata: { not_applied_for: 'x' } });
    a.state.results.clear(a.state.log.end.seq, momentAt(0).wallMs);
    const [unknown] = writeAs(a, 'n', 3, { ageMs: 50 });
    expect([reasonOf(unknown), unknown?.kind === 'failed' && unknown.metadata]).toEqual(['PARTITION_UNAVAILABLE', undefined]);
  });
});

describe('a leader whose keyspace is frozen until an operator says otherwise', () => {
  const LASTING = lastingFreeze('1');
  const solo = (): SoloLeader => takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }) });

  it('refuses writes for good, expires nothing, answers repeats of what it has, and is read; it confirms with a barrier', () => {
    const a = solo();
    writeAs(a, 'n', 1);
    a.leader.onRecord(frozenRecord(LASTING, { leader: 'a', inSync: ['a'], revision: 2 }), 2);
    expect(a.leader.confirmFreeze(LASTING, false, momentAt(3))).toMatchObject({ kind: 'confirmed', position: a.state.log.end });
    const { end } = a.state.log;
    const [refused] = a.write('k', setTo('w'), momentAt(3));
    expect([reasonOf(refused), refused?.kind === 'failed' && refused.metadata]).toEqual(['KEYSPACE_FROZEN', undefined]);
    expect(writeAs(a, 'n', 1, { ageMs: 50 })[0]).toMatchObject({ kind: 'done', answer: { value: 1n } });
    expect(reasonOf(writeAs(a, 'n', 2, { ageMs: 50 })[0])).toBe('KEYSPACE_FROZEN');
    a.leader.tick(momentAt(5000));
    expect(a.state.log.end).toEqual(end);
    expect(a.leader.refusalOfReads(3)).toBeUndefined();
    a.leader.onRecord(frozenRecord(undefined, { leader: 'a', inSync: ['a'], revision: 3 }), 4);
    expect(reasonOf(a.write('k', setTo('w'), momentAt(5))[0])).toBe('done');
  });

  it('is compared by markers, and gives its office to another one: replicas move while nothing is written', () => {
    const a = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a', 'b'] }) });
    const b = follow(a, openState('b'));
    b.subscribe(0);
    b.receive(1);
    b.acknowledge(1);
    a.leader.onRecord(frozenRecord(LASTING, { leader: 'a', inSync: ['a', 'b'], revision: 2 }), 2);
    expect(a.leader.putMarker(momentAt(3)).kind).toBe('marked');
    b.receive(4);
    b.acknowledge(4);
    const outcomes: string[] = [];
    a.leader.handOver({ target: openState('b').identity.self.replica, holdMs: 100 }, momentAt(5), ({ kind }) => outcomes.push(kind));
    expect(outcomes).toEqual(['given-up']);
  });

  it('takes office frozen after a failover', () => {
    const a = takeOffice({ state: openState('a'), record: frozenRecord(LASTING, { leader: 'a', inSync: ['a'] }) });
    expect(reasonOf(a.write('k', setTo('v'), momentAt(1))[0])).toBe('KEYSPACE_FROZEN');
  });
});

describe('a partition of a copy that has the place of its source (R37)', () => {
  const copyOf = (): SoloLeader => {
    const copy = takeOffice({ state: openState('b'), record: recordOf({ leader: 'b', inSync: ['b'] }) });
    copy.leader.copy([{ key: Buffer.from('n'), value: Buffer.from('7'), expiresAtMs: 0 }], { source: 3, phase: 'FOLLOWING', origin: { generation: 1, epoch: 1, seq: 9 }, stampMs: 0, next: undefined }, momentAt(1), () => undefined);
    return copy;
  };
  const pulled = ({ leader }: SoloLeader): string | undefined => {
    let reason: string | undefined = 'taken';
    leader.copy([{ key: Buffer.from('n'), value: Buffer.from('old'), expiresAtMs: 0 }], { source: 3, phase: 'FOLLOWING', origin: { generation: 1, epoch: 1, seq: 10 }, stampMs: 0, next: undefined }, momentAt(3), (failure) => (reason = failure?.message ?? 'taken'));
    return reason;
  };

  it('takes nothing from the source any more, in this office and in the next one, nor as a replica that is filled anew', () => {
    const copy = copyOf();
    copy.leader.endCopy({ fencesBelow: 100, timeMs: 0 }, momentAt(2));
    expect(pulled(copy)).toBe('the copy has taken the place of its source');
    copy.leader.leaveOffice();
    expect(pulled(takeOffice({ state: copy.state, record: recordOf({ leader: 'b', inSync: ['b'], epoch: 2, revision: 2 }), now: momentAt(3) }))).toBe('the copy has taken the place of its source');
    const filled = openState('c');
    filled.copies.load(copy.state.copies.encode(), 9);
    expect(filled.copies.isEnded).toBe(true);
  });

  it('answers a repeat of a write that began at the source WRITE_IN_DOUBT, and never does it again; later ones it knows (R20, R21)', () => {
    const copy = copyOf();
    copy.leader.endCopy({ fencesBelow: 100, timeMs: 0 }, momentAt(1000));
    expect(writeAs(copy, 'n', 1, { ageMs: 500, atMs: 1001 })[0]).toMatchObject({ reason: 'WRITE_IN_DOUBT', metadata: { cause: 'RESULT_FORGOTTEN' } });
    expect(writeAs(copy, 'n', 2, { atMs: 1002 })[0]).toMatchObject({ answer: { value: 8n } });
    expect(writeAs(copy, 'n', 2, { ageMs: 500, atMs: 1003 })[0]).toMatchObject({ answer: { value: 8n } });
    expect(writeAs(copy, 'n', 3, { ageMs: 500, atMs: 60_000 })[0]).toMatchObject({ answer: { value: 9n } });
  });

  describe('whose changes came with the op ids of their writes (R21)', () => {
    const opId = (counter: number) => ({ clientId: Buffer.from('client-1'), counter });
    const place = (seq: number) => ({ source: 3, phase: 'FOLLOWING', origin: { generation: 1, epoch: 1, seq }, stampMs: 0, next: undefined }) as const;
    const take = ({ leader }: SoloLeader, seq: number, atMs: number, changes: Parameters<SoloLeader['leader']['copy']>[0], hasResults = true): void => leader.copy(changes, place(seq), momentAt(atMs), () => undefined, { hasResults });
    /** From 1 s on it knows all that is written to the source: an increment to 8 by op 1, and a delete by op 2 of a key that never came here. */
    const knowing = (): SoloLeader => {
      const copy = copyOf();
      take(copy, 10, 1000, []);
      take(copy, 12, 10_000, [{ key: Buffer.from('n'), value: Buffer.from('8'), expiresAtMs: 0, opId: opId(1) }, { key: Buffer.from('gone'), value: undefined, expiresAtMs: 0, opId: opId(2) }]);
      return copy;
    };

    it('answers repeats as the source would have, with its own version; what did not come did not happen, and is done', () => {
      const copy = knowing();
      copy.leader.endCopy({ fencesBelow: 100, timeMs: 0 }, momentAt(10_500));
      const { seq } = copy.state.store.get(Buffer.from('n'), keyHash(Buffer.from('n')))!.version;
      expect(writeAs(copy, 'n', 1, { ageMs: 1000, atMs: 10_600 })[0]).toMatchObject({ answer: { kind: 'increment', value: 8n }, version: { seq } });
      const deleted: WriteOutcome[] = [];
      copy.leader.write({ key: Buffer.from('gone'), hash: keyHash(Buffer.from('gone')), command: { kind: 'delete' }, opId: opId(2), repeatAgeMs: 1000, ack: 'IN_SYNC' }, momentAt(10_601), (outcome) => deleted.push(outcome));
      expect(deleted[0]).toMatchObject({ answer: { kind: 'delete', applied: true } });
      expect(writeAs(copy, 'n', 3, { ageMs: 1000, atMs: 10_602 })[0]).toMatchObject({ answer: { value: 9n } });
    });

    it('says of a write that may have been sent before it knew all that it cannot tell', () => {
      const copy = knowing();
      copy.leader.endCopy({ fencesBelow: 100, timeMs: 0 }, momentAt(10_500));
      expect(writeAs(copy, 'n', 3, { ageMs: 9000, atMs: 10_600 })[0]).toMatchObject({ reason: 'WRITE_IN_DOUBT', metadata: { cause: 'RESULT_FORGOTTEN' } });
    });

    it.each<[string, (copy: SoloLeader) => SoloLeader, number]>([
      ['another leader took the last batches', (copy) => {
        copy.leader.leaveOffice();
        return takeOffice({ state: copy.state, record: recordOf({ leader: 'b', inSync: ['b'], epoch: 2, revision: 2 }), now: momentAt(10_400) });
      }, 0],
      ['a batch came without them, of a source of another version', (copy) => {
        take(copy, 13, 10_400, [], false);
        return copy;
      }, 0],
      ['it began anew meanwhile', (copy) => {
        copy.leader.copy([], { ...place(0), phase: 'EMPTYING' }, momentAt(10_300), () => undefined);
        take(copy, 14, 10_400, []);
        return copy;
      }, 0],
      ['the time of the source was far ahead', (copy) => copy, momentAt(40_000).wallMs],
    ])('where %s it cannot tell either, of anything that was sent before the end', (_name, meanwhile, timeMs) => {
      const copy = meanwhile(knowing());
      copy.leader.endCopy({ fencesBelow: 100, timeMs }, momentAt(10_500));
      expect(writeAs(copy, 'n', 3, { ageMs: 1000, atMs: 10_600 })[0]).toMatchObject({ reason: 'WRITE_IN_DOUBT', metadata: { cause: 'RESULT_FORGOTTEN' } });
    });
  });

  it('refuses fencing tokens that were given out before, since it does not know which of them the source had seen outdated (I9)', () => {
    const copy = copyOf();
    copy.leader.endCopy({ fencesBelow: 100, timeMs: 0 }, momentAt(2));
    const fence = (token: number): Fence => ({ lock: { kind: 'name', name: 'l' }, token, isShared: false });
    expect(reasonOf(writeAs(copy, 'n', 1, { fence: fence(99) })[0])).toBe('STALE_FENCING_TOKEN');
    expect(reasonOf(writeAs(copy, 'n', 2, { fence: fence(100) })[0])).toBe('done');
  });

  it('has a time that is not before that of the source: what had expired there does not come back (I7, R23)', () => {
    const copy = takeOffice({ state: openState('b'), record: recordOf({ leader: 'b', inSync: ['b'] }) });
    const expiresAtMs = momentAt(1000).wallMs;
    copy.leader.copy([{ key: Buffer.from('k'), value: Buffer.from('v'), expiresAtMs }], { source: 3, phase: 'FOLLOWING', origin: { generation: 1, epoch: 1, seq: 9 }, stampMs: 0, next: undefined }, momentAt(1), () => undefined);
    copy.leader.endCopy({ fencesBelow: 1, timeMs: expiresAtMs + 1 }, momentAt(2));
    expect(copy.state.clock.read(2)).toBeGreaterThan(expiresAtMs);
    expect(copy.write('k', { kind: 'set', value: Buffer.from('w'), expiresAtMs: 0, condition: 'IF_PRESENT' }, momentAt(3))[0]).toMatchObject({ answer: { applied: false } });
  });

  it('has that time already while it follows, before it has heard of its cut-over: a read shows nothing that the source did not show any more (I7, R23)', () => {
    const copy = takeOffice({ state: openState('b'), record: recordOf({ leader: 'b', inSync: ['b'] }) });
    const stampMs = momentAt(5000).wallMs;
    copy.leader.copy([{ key: Buffer.from('k'), value: Buffer.from('v'), expiresAtMs: stampMs - 1 }], { source: 3, phase: 'FOLLOWING', origin: { generation: 1, epoch: 1, seq: 9 }, stampMs, next: undefined }, momentAt(1), () => undefined);
    expect(copy.state.clock.read(1)).toBeGreaterThanOrEqual(stampMs);
  });

  it('is what it is when it never was a copy', () => {
    const other = takeOffice({ state: openState('b'), record: recordOf({ leader: 'b', inSync: ['b'] }) });
    expect(other.state.copies.isEnded).toBe(false);
    expect(pulled(other)).toBe('taken');
  });
});

// A source, its copy, clients who know either, and a coordinator that freezes, looks, and switches, or gives it up; leaders of both
// change at any time, and a leader of the copy may not have heard of the switch.
class CutOverWorld {
  readonly random: SeededRandom;
  source: SoloLeader;
  copy: SoloLeader;
  /** What was acknowledged last, by key. */
  readonly acknowledged = new Map<string, string>();
  #place: SourcePlace | undefined;
  #frozen: string | undefined;
  #barrier: number | undefined;
  isOver = false;
  #nowMs = 0;
  #revision = 1;
  #attempt = 0;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    this.source = takeOffice({ state: openState('a'), record: this.#sourceRecord() });
    this.copy = takeOffice({ state: openState('b'), record: recordOf({ leader: 'b', inSync: ['b'] }) });
  }

  #sourceRecord(): VersionedRecord {
    return frozenRecord(this.#frozen, { leader: 'a', inSync: ['a'], epoch: this.#revision, revision: this.#revision });
  }

  /** By a client that knows the newest place, or the old one. */
  write(knowsOld: boolean): void {
    this.#nowMs += 1;
    const key = `key-${randomBelow(this.random, 20)}`;
    const value = `v${this.#nowMs}`;
    const at = this.isOver && !knowsOld ? this.copy : this.source;
    if (at === this.copy) this.copy.leader.endCopy({ fencesBelow: 1, timeMs: 0 }, momentAt(this.#nowMs));
    const [outcome] = at.write(key, setTo(value), momentAt(this.#nowMs));
    if (outcome?.kind === 'done') this.acknowledged.set(key, value);
  }

  pull(): void {
    const { state, leader } = this.copy;
    const held = state.copies.get(0);
    this.#place ??= held === undefined || held.phase === 'ENDED' ? beginOfCopy(this.source.state, FIRST_HASH) : { origin: held.origin, next: held.next };
    const reading = readSource(this.source.state, this.#place, all, { ...LIMITS, log: { entriesMax: 1 + randomBelow(this.random, 5), bytesMax: ALL.bytesMax } });
    if (reading.kind !== 'read') throw new Error(`the source says ${reading.kind}`);
    const { origin, next } = reading.place;
    const changes = reading.changes.map(({ key, value, expiresAtMs }) => ({ key: Buffer.from(key), value: value && Buffer.from(value), expiresAtMs }));
    leader.copy(changes, { source: 0, phase: next === undefined ? 'FOLLOWING' : 'COPYING', origin, stampMs: 0, next }, momentAt(this.#nowMs), (failure) => {
      if (failure === undefined) this.#place = reading.place;
    });
  }

  /** One step of the coordinator: it freezes, asks for the barrier, or switches. */
  coordinate(): void {
    if (this.isOver) return;
    if (this.#frozen === undefined) {
      this.#attempt += 1;
      this.#setFrozen(`x${this.#attempt}`);
      return;
    }
    const answer = this.source.leader.confirmFreeze(this.#frozen, false, momentAt(this.#nowMs));
    if (answer.kind === 'confirmed') this.#barrier ??= answer.position.seq;
    const held = this.copy.state.copies.get(0);
    if (this.#barrier !== undefined && held?.phase === 'FOLLOWING' && held.origin.seq >= this.#barrier) this.isOver = true;
  }

  giveUp(): void {
    if (!this.isOver && this.#frozen !== undefined) this.#setFrozen(undefined);
  }

  #setFrozen(cutOver: string | undefined): void {
    this.#frozen = cutOver;
    this.#barrier = undefined;
    this.#revision += 1;
    this.source.leader.onRecord({ ...this.#sourceRecord(), record: { ...this.#sourceRecord().record, epoch: this.source.leader.epoch as never } }, this.#nowMs);
  }

  failOver(side: 'source' | 'copy'): void {
    this.#revision += 1;
    this[side].leader.leaveOffice();
    const record = side === 'source' ? this.#sourceRecord() : recordOf({ leader: 'b', inSync: ['b'], epoch: this.#revision, revision: this.#revision });
    this[side] = takeOffice({ state: this[side].state, record, now: momentAt(this.#nowMs) });
    if (side === 'copy') this.#place = undefined;
  }

  lost(): string[] {
    return [...this.acknowledged].filter(([key, value]) => this.copy.state.store.get(Buffer.from(key), keyHash(Buffer.from(key)))?.value.toString() !== value).map(([key, value]) => `${key}=${value}`);
  }
}

describe('a cut-over, whoever leads and whatever is given up meanwhile (R37, I8)', () => {
  it('whatever was acknowledged by whomever is at the copy, and is not written over by the source (seeds 0 to 199)', () => {
    let over = 0;
    for (let seed = 0; seed < 200; seed += 1) {
      const world = new CutOverWorld(seed);
      for (let round = 0; round < 400; round += 1) {
        const dice = randomBelow(world.random, 100);
        if (dice < 40) world.write(dice < 15);
        else if (dice < 70) world.pull();
        else if (dice < 90 && round > 100) world.coordinate();
        else if (dice === 90) world.giveUp();
        else if (dice < 94) world.failOver('source');
        else if (dice < 97) world.failOver('copy');
      }
      if (!world.isOver) continue;
      over += 1;
      expect({ seed, lost: world.lost() }).toEqual({ seed, lost: [] });
    }
    expect(over).toBeGreaterThan(150);
  });

});

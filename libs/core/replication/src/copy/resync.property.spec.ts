// A keyspace that was the source of another one becomes its copy, with all that it has, while the other is written to and streams
// and offices end anywhere (R37).
import { SeededRandom, keyHash, randomBelow, type Hash64 } from '@atoll/core-runtime';
import { FIRST_HASH } from '@atoll/core-store';
import { momentAt, openState, recordOf, takeOffice, type SoloLeader } from '../testing/solo.ts';
import type { DiscardReport } from '../former-data.ts';
import type { CopyPosition } from './copy-position.ts';
import { CopyPositions } from './copy-positions.ts';
import { PART_DIGEST_BYTES, PartDigests, partBits } from './part-digests.ts';
import { readDifferences, takeDifferences } from './resync.ts';
import { beginOfCopy, type SourcePlace } from './source-reader.ts';

const SEEDS = 30;
const KEYS = 60;
const RUN = 7;
const ALL = { entriesMax: 10_000, bytesMax: 1024 * 1024 };
const belongs = (): boolean => true;
const text = (key: Uint8Array): string => Buffer.from(key).toString();

/** A former primary `a` and what was promoted in its place, `b`. */
class ResyncWorld {
  readonly random: SeededRandom;
  a: SoloLeader;
  readonly b: SoloLeader;
  /** The stream that is open: where it is, and what `a` said that it holds. */
  stream: { place: SourcePlace; held: PartDigests | undefined } | undefined;
  /** The end of the log of `a` that `b` has everything of. */
  readonly former: { generation: number; epoch: number; seq: number };
  /** Written at `a` behind that. */
  readonly lost = new Map<string, string>();
  readonly discarded = new Map<string, number>();
  superseded = 0;
  sentEntries = 0;
  nowMs = 0;
  revision = 1;

  constructor(seed: number, options: { readonly common: number; readonly lost: number; readonly since: number; readonly keys?: number }) {
    this.random = new SeededRandom(seed);
    this.a = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }) });
    this.b = takeOffice({ state: openState('b'), record: recordOf({ leader: 'b', inSync: ['b'] }) });
    const { keys = KEYS } = options;
    for (let index = 0; index < options.common; index += 1) {
      const [key, value] = [`key-${randomBelow(this.random, keys)}`, `common ${index}`];
      for (const leader of [this.a, this.b]) this.write(leader, key, value);
    }
    const { generation, appliedSeq, log } = this.a.state;
    this.former = { generation: generation.counter, epoch: log.end.epoch, seq: appliedSeq };
    for (let index = 0; index < options.lost; index += 1) {
      const [key, value] = [`key-${randomBelow(this.random, keys)}`, `lost ${index}`];
      this.write(this.a, key, value);
      this.lost.set(key, value);
    }
    for (let index = 0; index < options.since; index += 1) this.change(keys);
  }

  write(leader: SoloLeader, key: string, value: string | undefined, expiresAtMs = 0): unknown {
    this.nowMs += 1;
    return leader.write(key, value === undefined ? { kind: 'delete' } : { kind: 'set', value: Buffer.from(value), expiresAtMs, condition: 'NONE' }, momentAt(this.nowMs))[0];
  }

  /** At the new primary. */
  change(keys = KEYS): void {
    const isDelete = randomBelow(this.random, 3) === 0;
    const expiresAtMs = randomBelow(this.random, 5) === 0 ? momentAt(this.nowMs).wallMs + 40 : 0;
    this.write(this.b, `key-${randomBelow(this.random, keys)}`, isDelete ? undefined : `since ${this.nowMs}`, expiresAtMs);
    if (randomBelow(this.random, 5) === 0) for (const { leader } of [this.a, this.b]) leader.tick(momentAt(this.nowMs));
  }

  /** As the puller does. `isCut`: the stream ends when a message was read, and before it was taken. */
  pull(limits: { readonly log: number; readonly slice: number }, isCut = false): void {
    const { state } = this.a;
    settled((done) => this.a.leader.resumeCopy(RUN, momentAt(this.nowMs), done));
    this.stream ??= this.#open();
    const reading = this.stream.held === undefined ? undefined : readDifferences(this.b.state, this.stream.place, belongs, this.stream.held, { log: { entriesMax: limits.log, bytesMax: ALL.bytesMax }, slice: { entriesMax: limits.slice, bytesMax: ALL.bytesMax } });
    if (reading?.kind !== 'read') throw new Error(`the source says ${reading?.kind}`);
    this.sentEntries += reading.sliceEntries;
    if (isCut) return void (this.stream = undefined);
    const before = state.copies.get(0);
    const changes = reading.changes.map(({ key, value, expiresAtMs }) => ({ key: Buffer.from(key), value: value && Buffer.from(value), expiresAtMs }));
    const taken = takeDifferences({ store: state.store, generation: state.generation, changes, logChanges: reading.logChanges, replaced: reading.replaced, belongs, next: before === undefined ? FIRST_HASH : before.next, resumedBehind: state.copies.resumedBehind, former: this.former, timeMs: momentAt(this.nowMs).wallMs });
    const { origin, next } = reading.place;
    const position: CopyPosition = { source: 0, phase: next === undefined ? 'FOLLOWING' : 'COMPARING', origin, stampMs: 1, next };
    settled((done) => this.a.leader.copy(taken.changes, position, momentAt(this.nowMs), done, { run: RUN }));
    this.stream.place = reading.place;
    this.note(taken.discards);
  }

  note(report: DiscardReport | undefined): void {
    this.superseded += report?.superseded ?? 0;
    for (const { key } of report?.listed ?? []) this.discarded.set(text(key), (this.discarded.get(text(key)) ?? 0) + 1);
  }

  failOver(): void {
    this.revision += 1;
    this.a.leader.leaveOffice();
    this.a = takeOffice({ state: this.a.state, record: recordOf({ leader: 'a', inSync: ['a'], epoch: this.revision, revision: this.revision }), now: momentAt(this.nowMs) });
    this.stream = undefined;
  }

  /** To the end; answers how many messages it took. */
  finish(limits = { log: 50, slice: 50 }): number {
    for (let round = 1; round < 2000; round += 1) {
      this.pull(limits);
      const held = this.a.state.copies.get(0);
      if (held?.phase === 'FOLLOWING' && held.origin.seq === this.b.state.appliedSeq) return round;
    }
    throw new Error('it does not end');
  }

  content({ state }: SoloLeader): string[] {
    return state.store.readRange(FIRST_HASH, undefined, ALL).entries.filter(({ expiresAtMs }) => expiresAtMs === 0 || expiresAtMs > momentAt(this.nowMs).wallMs).map(({ key, value, expiresAtMs }) => `${text(key)}=${value.toString()} until ${expiresAtMs}`);
  }

  /** FOLLOWING goes on without digests; here with those of nothing, which are not looked at. */
  #open(): { place: SourcePlace; held: PartDigests } {
    const { state } = this.a;
    const at = state.copies.get(0);
    const held = new PartDigests({ bits: partBits({ entries: state.store.entryCount * 4, bytes: 0 }), expiringByMs: momentAt(this.nowMs).wallMs });
    for (let from: Hash64 | undefined = at?.next ?? FIRST_HASH; from !== undefined; ) from = held.add(state.store, from, belongs, { entriesMax: 7, bytesMax: ALL.bytesMax });
    return { place: at === undefined ? beginOfCopy(this.b.state, FIRST_HASH) : { origin: at.origin, next: at.next }, held };
  }
}

function settled(act: (done: (failure: { readonly message: string } | undefined) => void) => void): void {
  let isDone = false;
  act((failure) => {
    if (failure !== undefined) throw new Error(failure.message);
    isDone = true;
  });
  // A leader that is alone commits at once.
  if (!isDone) throw new Error('it was not taken');
}

describe('a former primary that becomes a copy of what took its place (R37)', () => {
  it(`comes to hold the same, and tells each write that was never replicated once, and nothing else (seeds 0 to ${SEEDS - 1})`, () => {
    for (let seed = 0; seed < SEEDS; seed += 1) {
      const world = new ResyncWorld(seed, { common: 80, lost: 6, since: 15 });
      const { random } = world;
      const expected = new Set(world.lost.keys());
      for (let round = 0; round < 150; round += 1) {
        const dice = randomBelow(random, 12);
        if (dice < 5) world.change();
        else if (dice === 5) world.failOver();
        else if (dice === 6) world.pull({ log: 5, slice: 5 }, true);
        else world.pull({ log: 1 + randomBelow(random, 20), slice: 1 + randomBelow(random, 10) });
      }
      world.finish();
      expect({ seed, content: world.content(world.a) }).toEqual({ seed, content: world.content(world.b) });
      // A write whose entry expired at the new primary in the same breath may be told of or not; none of these expires.
      expect({ seed, discarded: [...world.discarded.keys()].sort() }).toEqual({ seed, discarded: [...expected].sort() });
      expect({ seed, times: Math.max(1, ...world.discarded.values()) }).toEqual({ seed, times: 1 });
    }
  });

  it('gets little more than what differs', () => {
    const world = new ResyncWorld(1, { common: 4000, lost: 3, since: 5, keys: 2000 });
    world.finish({ log: 100, slice: 500 });
    expect(world.content(world.a)).toEqual(world.content(world.b));
    // 8 keys differ at most, with the entries that lie beside them.
    expect(world.sentEntries).toBeLessThan(8 * 16);
  });

  it('clients write nothing from then on, whatever else is known of the keyspace, until it has ended by a later word', () => {
    const world = new ResyncWorld(2, { common: 5, lost: 0, since: 0 });
    world.finish();
    const outcome = (): unknown => world.write(world.a, 'key-0', 'mine');
    expect(outcome()).toMatchObject({ kind: 'failed', reason: 'KEYSPACE_COPYING' });
    world.failOver();
    expect(outcome()).toMatchObject({ kind: 'failed', reason: 'KEYSPACE_COPYING' });
    // A view from before it became a copy again.
    world.a.leader.endCopy({ fencesBelow: RUN, timeMs: 0 }, momentAt(world.nowMs));
    expect(outcome()).toMatchObject({ kind: 'failed', reason: 'KEYSPACE_COPYING' });
    world.a.leader.endCopy({ fencesBelow: RUN + 1, timeMs: 0 }, momentAt(world.nowMs));
    expect(outcome()).toMatchObject({ kind: 'done' });
    expect(world.a.state.copies.former(0)?.phase).toBe('FOLLOWING');
  });

  it('an earlier copy of the same partition takes nothing any more', () => {
    const world = new ResyncWorld(3, { common: 5, lost: 0, since: 0 });
    world.finish();
    const position: CopyPosition = { source: 0, phase: 'FOLLOWING', origin: world.former, stampMs: 1, next: undefined };
    const failures: unknown[] = [];
    for (const run of [0, RUN - 1]) world.a.leader.copy([], position, momentAt(world.nowMs), (failure) => failures.push(failure?.reason), { run });
    world.a.leader.resumeCopy(RUN - 1, momentAt(world.nowMs), (failure) => failures.push(failure?.reason));
    expect(failures).toEqual(['PARTITION_UNAVAILABLE', 'PARTITION_UNAVAILABLE', 'PARTITION_UNAVAILABLE']);
  });
});

describe('the positions of a copy that ends and begins again', () => {
  const at = (seq: number): CopyPosition => ({ source: 3, phase: 'FOLLOWING', origin: { generation: 1, epoch: 1, seq }, stampMs: seq, next: undefined });
  const turn = (phase: 'ENDED' | 'RESUMED', seq: number): CopyPosition => ({ source: 0, phase, origin: { generation: 0, epoch: 0, seq }, stampMs: phase === 'RESUMED' ? 40 : 0, next: undefined });

  it('survive a snapshot, those of the former copy too', () => {
    const sender = new CopyPositions();
    sender.set(at(9), 1);
    sender.set(turn('ENDED', 5), 2);
    const receiver = new CopyPositions();
    receiver.load(sender.encode(), 2);
    expect([receiver.isEnded, receiver.get(3), receiver.former(3)]).toEqual([true, undefined, at(9)]);
    sender.set(turn('RESUMED', 8), 3);
    sender.set(at(2), 4);
    receiver.load(sender.encode(), 4);
    expect([receiver.isOpen, receiver.run, receiver.resumedBehind, receiver.get(3), receiver.former(3)]).toEqual([true, 8, 40, at(2), undefined]);
    // What an older snapshot says of an earlier copy is nothing to it.
    const old = new CopyPositions();
    old.set(at(7), 1);
    receiver.load(old.encode(), 9);
    expect(receiver.get(3)).toEqual(at(2));
  });
});

describe('digests of parts', () => {
  it.each([
    [{ entries: 0, bytes: 0 }, 0],
    [{ entries: 8, bytes: 100 }, 0],
    [{ entries: 100_000, bytes: 1 }, 14],
    [{ entries: 10, bytes: 64 * 1024 * 1024 }, 10],
    [{ entries: 1e9, bytes: 1e12 }, 16],
  ])('%j are 2^%i parts', (size, bits) => expect(partBits(size)).toBe(bits));

  it('cover all hashes, and refuse what cannot be theirs', () => {
    const parts = new PartDigests({ bits: 2, expiringByMs: 0 });
    expect([parts.endOf(FIRST_HASH), parts.endOf({ high: 0x7fff_ffff, low: 5 }), parts.endOf({ high: 0xffff_ffff, low: 0 })]).toEqual([{ high: 0x4000_0000, low: 0 }, { high: 0x8000_0000, low: 0 }, undefined]);
    expect(new PartDigests({ bits: 0, expiringByMs: 0 }).endOf(keyHash(Buffer.from('k')))).toBeUndefined();
    expect(() => new PartDigests({ bits: 2, expiringByMs: 0, bytes: Buffer.alloc(PART_DIGEST_BYTES) })).toThrow(RangeError);
    expect(() => new PartDigests({ bits: 17, expiringByMs: 0 })).toThrow(RangeError);
  });
});

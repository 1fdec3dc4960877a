// One partition of a source and the one of its copy, with everything between them that can be cut: readings end anywhere, batches
// are taken in half, the copy's leader changes, and begins again from what its log says.
import { SeededRandom, keyHash, randomBelow } from '@atoll/core-runtime';
import { FIRST_HASH } from '@atoll/core-store';
import { GENERATION, momentAt, openState, recordOf, takeOffice, type SoloLeader } from '../testing/solo.ts';
import type { CopyPosition } from './copy-position.ts';
import { beginOfCopy, readSource, type CopiedChange, type SourcePlace } from './source-reader.ts';

const SEEDS = 60;
const ROUNDS = 400;
const KEYS = 40;
const NOWHERE = { generation: 0, epoch: 0, seq: 0 };
const ALL = { entriesMax: 10_000, bytesMax: 1024 * 1024 };

/** Half of the keys. */
const belongs = (key: Uint8Array): boolean => key.at(-1)! % 2 === 0;

class CopyWorld {
  readonly random: SeededRandom;
  readonly source: SoloLeader;
  copy: SoloLeader;
  /** What the puller keeps in mind; gone with the office. */
  place: SourcePlace | undefined;
  nowMs = 0;
  revision = 1;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    this.source = takeOffice({ state: openState('a'), record: recordOf({ leader: 'a', inSync: ['a'] }) });
    this.copy = takeOffice({ state: openState('b'), record: recordOf({ leader: 'b', inSync: ['b'] }) });
  }

  write(): void {
    this.nowMs += 1;
    const key = `key-${randomBelow(this.random, KEYS)}`;
    const isDelete = randomBelow(this.random, 3) === 0;
    const expiresAtMs = randomBelow(this.random, 4) === 0 ? momentAt(this.nowMs).wallMs + 50 : 0;
    const command = isDelete ? ({ kind: 'delete' } as const) : ({ kind: 'set', value: Buffer.from(`v${this.nowMs}`), expiresAtMs, condition: 'NONE' } as const);
    this.source.write(key, command, momentAt(this.nowMs));
    if (randomBelow(this.random, 5) === 0) this.source.leader.tick(momentAt(this.nowMs));
  }

  /** As the puller does: empties, reads, takes; `isCut`: only half of a batch comes in, and no place behind it. */
  pull(limits: { readonly log: number; readonly slice: number }, isCut: boolean): void {
    const { state } = this.copy;
    if (this.place === undefined) {
      const held = state.copies.get(0);
      if (held === undefined || held.phase === 'EMPTYING') {
        this.#empty();
        this.place = beginOfCopy(this.source.state, FIRST_HASH);
      } else this.place = { origin: held.origin, next: held.next };
    }
    const reading = readSource(this.source.state, this.place, belongs, {
      log: { entriesMax: limits.log, bytesMax: ALL.bytesMax },
      slice: { entriesMax: limits.slice, bytesMax: ALL.bytesMax },
    });
    if (reading.kind !== 'read') throw new Error(`the source says ${reading.kind}`);
    const changes = reading.changes.map(({ key, value, expiresAtMs }) => ({ key: Buffer.from(key), value: value && Buffer.from(value), expiresAtMs }));
    if (isCut) return this.#takeHalf(changes);
    const { origin, next } = reading.place;
    this.#take(changes, { source: 0, phase: next === undefined ? 'FOLLOWING' : 'COPYING', origin, stampMs: 0, next });
    this.place = reading.place;
  }

  /** Another process leads, with the log of the one before. */
  failOver(): void {
    this.revision += 1;
    this.copy.leader.leaveOffice();
    this.copy = takeOffice({ state: this.copy.state, record: recordOf({ leader: 'b', inSync: ['b'], epoch: this.revision, revision: this.revision }), now: momentAt(this.nowMs) });
    this.place = undefined;
  }

  content(of: SoloLeader, filter: (key: Uint8Array) => boolean): string[] {
    return of.state.store.readRange(FIRST_HASH, undefined, ALL).entries.filter(({ key }) => filter(key)).map(({ key, value, expiresAtMs }) => `${Buffer.from(key).toString()}=${value.toString()} until ${expiresAtMs}`);
  }

  #empty(): void {
    const position: CopyPosition = { source: 0, phase: 'EMPTYING', origin: NOWHERE, stampMs: 0, next: undefined };
    const keys = this.copy.state.store.readRange(FIRST_HASH, undefined, ALL).entries.map(({ key }) => ({ key: Buffer.from(key), value: undefined, expiresAtMs: 0 }));
    this.#take(keys, position);
  }

  #take(changes: readonly CopiedChange[], position: CopyPosition): void {
    let isDone = false;
    this.copy.leader.copy(changes, position, momentAt(this.nowMs), (failure) => {
      if (failure !== undefined) throw new Error(failure.message);
      isDone = true;
    });
    // A leader that is alone commits at once.
    if (!isDone || this.copy.state.copies.get(0)?.origin.seq !== position.origin.seq) throw new Error('a batch was taken without its place');
  }

  /** The office ends in the middle: what came stands in the log, without a place behind it. */
  #takeHalf(changes: readonly CopiedChange[]): void {
    for (const { key, value, expiresAtMs } of changes.slice(0, Math.ceil(changes.length / 2))) {
      const command = value === undefined ? ({ kind: 'delete' } as const) : ({ kind: 'set', value, expiresAtMs, condition: 'NONE' } as const);
      this.copy.leader.write({ key, hash: keyHash(key), command: command, opId: undefined, ack: 'IN_SYNC' }, momentAt(this.nowMs), () => undefined);
    }
    this.failOver();
  }
}

describe('a partition of a copy and its source (R37)', () => {
  it(`comes to hold what the source holds, whatever is cut and whoever leads (seeds 0 to ${SEEDS - 1})`, () => {
    for (let seed = 0; seed < SEEDS; seed += 1) {
      const world = new CopyWorld(seed);
      const { random } = world;
      for (let index = 0; index < 60; index += 1) world.write();
      for (let round = 0; round < ROUNDS; round += 1) {
        const dice = randomBelow(random, 20);
        if (dice < 10) world.write();
        else if (dice === 10) world.failOver();
        else world.pull({ log: 1 + randomBelow(random, 20), slice: 1 + randomBelow(random, 10) }, dice === 11);
      }
      for (let round = 0; round < 1000 && (world.place?.next !== undefined || world.place?.origin.seq !== world.source.state.appliedSeq); round += 1) world.pull({ log: 50, slice: 50 }, false);
      expect({ seed, content: world.content(world.copy, () => true) }).toEqual({ seed, content: world.content(world.source, belongs) });
    }
  });

  it('a sub-range is read only when the log is read to its end: what is deleted behind it is told later, and does not stay (I7)', () => {
    const world = new CopyWorld(1);
    world.source.write('key-0', { kind: 'set', value: Buffer.from('v'), expiresAtMs: 0, condition: 'NONE' }, momentAt(1));
    const place = beginOfCopy(world.source.state, FIRST_HASH);
    world.source.write('key-2', { kind: 'set', value: Buffer.from('v'), expiresAtMs: 0, condition: 'NONE' }, momentAt(2));
    world.source.write('key-2', { kind: 'delete' }, momentAt(3));
    const one = readSource(world.source.state, place, belongs, { log: { entriesMax: 1, bytesMax: 1000 }, slice: ALL });
    expect(one).toMatchObject({ kind: 'read', isAtHead: false, sliceBytes: 0, place: { next: FIRST_HASH } });
    const two = readSource(world.source.state, (one as Extract<typeof one, { kind: 'read' }>).place, belongs, { log: { entriesMax: 10, bytesMax: 1000 }, slice: ALL });
    expect((two as Extract<typeof two, { kind: 'read' }>).changes.map(({ key, value }) => `${Buffer.from(key).toString()} ${value?.toString() ?? 'gone'}`)).toEqual(['key-2 gone', 'key-0 v']);
    expect(two).toMatchObject({ isAtHead: true, place: { next: undefined } });
  });

  it.each([
    ['of an older generation', { generation: 0, epoch: 1, seq: 1 }, 'WATCH_RESET'],
    ['of another log', { generation: GENERATION.counter, epoch: 9, seq: 1 }, 'WATCH_RESET'],
  ])('a place %s has it begin again', (_name, origin, reason) => {
    const world = new CopyWorld(1);
    expect(readSource(world.source.state, { origin, next: undefined }, belongs, { log: ALL, slice: ALL })).toEqual({ kind: 'restart', reason });
  });

  it('a leader that may not write takes nothing, and says why', () => {
    const world = new CopyWorld(1);
    world.copy.leader.close();
    const failures: unknown[] = [];
    world.copy.leader.copy([], { source: 0, phase: 'EMPTYING', origin: NOWHERE, stampMs: 0, next: undefined }, momentAt(1), (failure) => failures.push(failure?.reason));
    expect(failures).toEqual(['NOT_LEADER']);
    expect(world.copy.state.copies.isEmpty).toBe(true);
  });
});

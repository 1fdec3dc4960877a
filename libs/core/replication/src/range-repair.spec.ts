import { compareHash, keyHash, SeededRandom, randomBelow, type Hash64 } from '@atoll/core-runtime';
import { FIRST_HASH, leafOf } from '@atoll/core-store';
import type { LogEntry, LogOperation } from './log-entry.ts';
import { TOUCHED_MAX } from './range-repair.ts';
import type { ReplicaState } from './replica-state.ts';
import type { SnapshotChunk } from './snapshot-install.ts';
import { openState } from './testing/solo.ts';

// In key-hash order, so that chunks can be cut between them.
const KEYS = ['k1', 'k2', 'k3', 'k4'].map((text) => Buffer.from(text)).sort((a, b) => compareHash(keyHash(a), keyHash(b)));
const [A, B, C, D] = KEYS as [Buffer, Buffer, Buffer, Buffer];

const logged = (seq: number, operation: LogOperation, evicted: readonly Uint8Array[] = []): LogEntry => ({ epoch: 1, seq, stampMs: 0, opId: undefined, evicted, operation });
const put = (key: Uint8Array, value: string, expiresAtMs = 0): LogOperation => ({ kind: 'put', key, value: Buffer.from(value), expiresAtMs });
const remove = (key: Uint8Array): LogOperation => ({ kind: 'delete', key });
const everythingUpTo = (watermarkMs: number): LogOperation => ({ kind: 'expire', from: FIRST_HASH, to: undefined, watermarkMs });

/** A whole replica that has applied these entries. */
function replicaWith(name: string, entries: readonly LogEntry[]): ReplicaState {
  const state = openState(name);
  apply(state, entries);
  return state;
}

function apply(state: ReplicaState, entries: readonly LogEntry[]): void {
  for (const entry of entries) {
    state.append(entry);
    state.commitTo(entry.seq, 0);
  }
}

/** What the leader sends of [from, to) now. */
function read(leader: ReplicaState, from: Hash64 = FIRST_HASH, to?: Hash64): SnapshotChunk {
  const { entries } = leader.store.readRange(from, to, { entriesMax: 1e6, bytesMax: 1e9 });
  return { from, to, readSeq: leader.appliedSeq, entries };
}

const corrupt = ({ store }: ReplicaState, key: Uint8Array, version = { generation: 1, epoch: 1, seq: 99 }): void =>
  store.put({ key, hash: keyHash(key), value: Buffer.from('wrong'), version, expiresAtMs: 0 });

const valueOf = ({ store }: ReplicaState, key: Uint8Array): string | undefined => store.peek(key, keyHash(key))?.value.toString();

const never = (): void => {
  throw new Error('taken too early');
};

describe('the repair of a sub-range (R34, R33)', () => {
  const log = [logged(1, put(A, 'a1')), logged(2, put(B, 'b2')), logged(3, put(C, 'c3')), logged(4, put(D, 'd4'))];

  it('replaces what differs: a wrong entry, a missing one, and one that should not be there', () => {
    const [leader, follower] = [replicaWith('l', log), replicaWith('f', log)];
    corrupt(follower, A);
    follower.store.delete(B, keyHash(B));
    corrupt(follower, Buffer.from('stranger'), { generation: 7, epoch: 9, seq: 1 });
    const repair = follower.beginRepair(FIRST_HASH, undefined)!;
    let isTaken = false;
    expect(repair.offer(read(leader), follower.appliedSeq, () => (isTaken = true))).toBe(true);
    expect(isTaken).toBe(true);
    expect(repair.next).toBeUndefined();
    expect(repair.entryCount).toBe(4);
    expect(follower.store.digest()).toEqual(leader.store.digest());
  });

  it('holds a chunk until the replica has applied what it shows: readers never go back in time', () => {
    const [leader, follower] = [replicaWith('l', log), replicaWith('f', log)];
    corrupt(follower, A);
    const repair = follower.beginRepair(FIRST_HASH, undefined)!;
    const later = [logged(5, put(B, 'b5')), logged(6, remove(C))];
    apply(leader, later);
    let isTaken = false;
    expect(repair.offer(read(leader), follower.appliedSeq, () => (isTaken = true))).toBe(true);
    expect(isTaken).toBe(false);
    expect(valueOf(follower, B)).toBe('b2');
    apply(follower, later.slice(0, 1));
    expect(isTaken).toBe(false);
    apply(follower, later.slice(1));
    expect(isTaken).toBe(true);
    expect(follower.store.digest()).toEqual(leader.store.digest());
  });

  it('a delete that the replica applied before an older chunk came stays a delete (I7)', () => {
    const [leader, follower] = [replicaWith('l', log), replicaWith('f', log)];
    const repair = follower.beginRepair(FIRST_HASH, undefined)!;
    const chunk = read(leader);
    apply(follower, [logged(5, remove(A)), logged(6, put(D, 'd6'), [B])]);
    repair.offer(chunk, follower.appliedSeq, () => undefined);
    expect(KEYS.map((key) => valueOf(follower, key))).toEqual([undefined, undefined, 'c3', 'd6']);
  });

  it('what an expiry record removed behind the chunk stays expired, also what it replaced (I7)', () => {
    const early = [logged(1, put(A, 'a1', 1000)), logged(2, put(B, 'b2'))];
    const [leader, follower] = [replicaWith('l', early), replicaWith('f', early)];
    const repair = follower.beginRepair(FIRST_HASH, undefined)!;
    const chunk = read(leader);
    apply(follower, [logged(3, put(B, 'b3', 900)), logged(4, everythingUpTo(1000))]);
    repair.offer(chunk, follower.appliedSeq, () => undefined);
    expect([valueOf(follower, A), valueOf(follower, B)]).toEqual([undefined, undefined]);
  });

  it('takes no chunk that was read before it began, none out of order, and none while one is held', () => {
    const [leader, follower] = [replicaWith('l', log), replicaWith('f', log)];
    const early = read(leader);
    apply(follower, [logged(5, remove(A))]);
    const repair = follower.beginRepair(FIRST_HASH, undefined)!;
    expect(repair.offer(early, follower.appliedSeq, never)).toBe(false);
    apply(leader, [logged(5, remove(A)), logged(6, put(A, 'a6'))]);
    expect(repair.offer(read(leader, keyHash(B)), follower.appliedSeq, never)).toBe(false);
    expect(repair.offer(read(leader, FIRST_HASH, keyHash(B)), follower.appliedSeq, never)).toBe(true);
    expect(repair.offer(read(leader, FIRST_HASH, keyHash(B)), follower.appliedSeq, never)).toBe(false);
  });

  it('leaves what lies outside of its sub-range alone', () => {
    const [leader, follower] = [replicaWith('l', log), replicaWith('f', log)];
    for (const key of KEYS) corrupt(follower, key);
    const repair = follower.beginRepair(keyHash(B), keyHash(D))!;
    repair.offer(read(leader, keyHash(B), keyHash(C)), follower.appliedSeq, () => undefined);
    expect(repair.next).toEqual(keyHash(C));
    repair.offer(read(leader, keyHash(C), keyHash(D)), follower.appliedSeq, () => undefined);
    expect(repair.next).toBeUndefined();
    expect(KEYS.map((key) => valueOf(follower, key))).toEqual(['wrong', 'b2', 'c3', 'wrong']);
  });

  it('is given up when more is written meanwhile than it may note (I10)', () => {
    const follower = replicaWith('f', log);
    const repair = follower.beginRepair(FIRST_HASH, undefined)!;
    for (let seq = 5; seq <= TOUCHED_MAX + 5; seq += 1) repair.noteEntry(logged(seq, remove(Buffer.from(`t${seq}`))));
    expect(repair.isOverrun).toBe(true);
    expect(repair.offer(read(follower), follower.appliedSeq, never)).toBe(false);
  });

  it('is one at a time, of a whole replica only, and ends with an install', () => {
    const follower = replicaWith('f', log);
    const repair = follower.beginRepair(FIRST_HASH, undefined)!;
    expect(follower.beginRepair(FIRST_HASH, undefined)).toBeUndefined();
    follower.endRepair(repair);
    expect(follower.beginRepair(FIRST_HASH, undefined)).toBeDefined();
    follower.beginInstall(follower.generation, { epoch: 1, seq: 4 });
    expect(follower.beginRepair(FIRST_HASH, undefined)).toBeUndefined();
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])('ends with the state of the leader whatever the log does meanwhile (seed %i)', (seed) => {
    const random = new SeededRandom(seed);
    const keys = Array.from({ length: 60 }, (_, index) => Buffer.from(`key-${index}`));
    const anyKey = (): Buffer => keys[randomBelow(random, keys.length)]!;
    const entries = Array.from({ length: 600 }, (_, index): LogEntry => {
      const seq = index + 1;
      const roll = randomBelow(random, 10);
      if (roll === 0) return logged(seq, everythingUpTo(seq));
      if (roll < 3) return logged(seq, remove(anyKey()));
      return logged(seq, put(anyKey(), `v${seq}`, randomBelow(random, 3) === 0 ? seq + randomBelow(random, 60) : 0), randomBelow(random, 8) === 0 ? [anyKey()] : []);
    });
    const [leader, follower] = [openState('l'), openState('f')];
    apply(leader, entries.slice(0, 200));
    apply(follower, entries.slice(0, 150 + randomBelow(random, 50)));
    // Nothing in the lower half of the hashes is as it should be.
    const half: Hash64 = { high: 2 ** 31, low: 0 };
    for (const key of keys) if (leafOf(keyHash(key).high) < 32 && randomBelow(random, 2) === 0) corrupt(follower, key, { generation: 1, epoch: 1, seq: 5000 });
    for (const key of keys) if (leafOf(keyHash(key).high) < 32 && randomBelow(random, 4) === 0) follower.store.delete(key, keyHash(key));
    const repair = follower.beginRepair(FIRST_HASH, half)!;
    let isAsked = false;
    const refused: SnapshotChunk[] = [];
    let arriving: SnapshotChunk | undefined;
    while (repair.next !== undefined && refused.length === 0) {
      const step = randomBelow(random, 4);
      if (step === 0 && leader.appliedSeq < 550) apply(leader, entries.slice(leader.appliedSeq, leader.appliedSeq + 1 + randomBelow(random, 20)));
      else if (step === 1 && follower.appliedSeq < leader.appliedSeq) apply(follower, entries.slice(follower.appliedSeq, follower.appliedSeq + 1));
      else if (step === 2 && !isAsked) {
        const { entries: found, next } = leader.store.readRange(repair.next, half, { entriesMax: 3, bytesMax: 1e9 });
        arriving = { from: repair.next, to: next, readSeq: leader.appliedSeq, entries: found };
        isAsked = true;
      } else if (step === 3 && arriving !== undefined) {
        if (!repair.offer(arriving, follower.appliedSeq, () => (isAsked = false))) refused.push(arriving);
        arriving = undefined;
      }
    }
    expect(refused).toEqual([]);
    follower.endRepair(repair);
    apply(follower, entries.slice(follower.appliedSeq));
    apply(leader, entries.slice(leader.appliedSeq));
    expect(follower.store.digest()).toEqual(leader.store.digest());
  });
});

import { compareHash, keyHash, type Hash64 } from '@atoll/core-runtime';
import type { StoredEntry } from '@atoll/core-store';
import type { LogEntry, LogOperation } from './log-entry.ts';
import { INSTALL_RANGES_MAX, SnapshotInstall, chunkEntries, type SnapshotChunk } from './snapshot-install.ts';
import { GENERATION, openState } from './testing/solo.ts';

const FIRST: Hash64 = { high: 0, low: 0 };

// In key-hash order, so that chunks can be cut between them.
const KEYS = ['k1', 'k2', 'k3', 'k4'].map((text) => Buffer.from(text)).sort((a, b) => compareHash(keyHash(a), keyHash(b)));
const [A, , C] = KEYS as [Buffer, Buffer, Buffer, Buffer];

const stored = (key: Uint8Array, seq: number, options: { value?: string; expiresAtMs?: number } = {}): StoredEntry => ({
  key,
  value: Buffer.from(options.value ?? `v${seq}`),
  version: { generation: 1, epoch: 1, seq },
  expiresAtMs: options.expiresAtMs ?? 0,
});

const chunk = (readSeq: number, entries: readonly StoredEntry[], from = FIRST, to?: Hash64): SnapshotChunk => ({ from, to, readSeq, entries });

const logged = (seq: number, operation: LogOperation, evicted: readonly Uint8Array[] = []): LogEntry => ({ epoch: 1, seq, stampMs: 0, opId: undefined, evicted, operation });
const put = (key: Uint8Array, value: string, expiresAtMs = 0): LogOperation => ({ kind: 'put', key, value: Buffer.from(value), expiresAtMs });
const everythingUpTo = (watermarkMs: number): LogOperation => ({ kind: 'expire', from: FIRST, to: undefined, watermarkMs });

function begin(readSeqMin = 0) {
  const { store } = openState('a');
  const install = new SnapshotInstall(store, readSeqMin);
  return {
    store,
    install,
    apply: (...entries: LogEntry[]) => {
      for (const entry of entries) install.applyEntry(entry, 1);
    },
    seqOf: (key: Uint8Array) => store.peek(key, keyHash(key))?.version.seq,
    valueOf: (key: Uint8Array) => store.peek(key, keyHash(key))?.value.toString(),
  };
}

describe('a snapshot install (R33)', () => {
  it('leaves a key deleted when its chunk comes behind the delete (I7)', () => {
    const { install, apply, seqOf } = begin();
    apply(logged(12, { kind: 'delete', key: A }));
    expect(install.takeChunk(chunk(10, [stored(A, 7)]))).toBe(true);
    expect(seqOf(A)).toBeUndefined();
  });

  it('keeps the newer of log and chunk, whichever comes first', () => {
    const first = begin();
    first.apply(logged(12, put(A, 'log')));
    first.install.takeChunk(chunk(10, [stored(A, 7)]));
    expect(first.valueOf(A)).toBe('log');
    const second = begin();
    second.install.takeChunk(chunk(12, [stored(A, 12, { value: 'chunk' })]));
    second.apply(logged(11, put(A, 'older')), logged(12, put(A, 'chunk')));
    expect(second.valueOf(A)).toBe('chunk');
    second.apply(logged(13, put(A, 'newest')));
    expect(second.valueOf(A)).toBe('newest');
  });

  it('brings no key back that was written after its delete was read', () => {
    const { install, apply, valueOf } = begin();
    apply(logged(12, { kind: 'delete', key: A }), logged(13, put(A, 'again')));
    install.takeChunk(chunk(10, [stored(A, 7)]));
    expect(valueOf(A)).toBe('again');
  });

  it('does not bring back what an expiry record of the log removed at the leader', () => {
    const { install, apply, seqOf } = begin();
    apply(logged(12, everythingUpTo(1000)));
    install.takeChunk(chunk(10, [stored(A, 7, { expiresAtMs: 1000 }), stored(C, 8, { expiresAtMs: 1001 })]));
    expect([seqOf(A), seqOf(C)]).toEqual([undefined, 8]);
  });

  it('does not bring back what was overwritten by a value that has expired since (I7)', () => {
    const { install, apply, seqOf } = begin();
    // 1. the chunk is read at 10: A as written by 7, without expiry
    // 2. the log: 12 overwrites A with a ttl, 14 removes it as expired
    apply(logged(12, put(A, 'short', 1000)), logged(14, everythingUpTo(1000)));
    // 3. the chunk arrives: what it has of A never expires
    install.takeChunk(chunk(10, [stored(A, 7)]));
    expect(seqOf(A)).toBeUndefined();
  });

  it('does not bring back what was evicted for a write of the log (R22)', () => {
    const { install, apply, seqOf } = begin();
    apply(logged(12, put(C, 'new'), [A]));
    install.takeChunk(chunk(10, [stored(A, 7)]));
    expect([seqOf(A), seqOf(C)]).toEqual([undefined, 12]);
  });

  it('replaces: what the receiver held in the sub-range and the leader does not, goes', () => {
    const { store, install, seqOf } = begin(5);
    store.put({ ...stored(A, 3), hash: keyHash(A) });
    store.put({ ...stored(C, 4), hash: keyHash(C) });
    install.takeChunk(chunk(10, [], FIRST, keyHash(C)));
    expect([seqOf(A), seqOf(C)]).toEqual([undefined, 4]);
    install.takeChunk(chunk(10, [stored(C, 9)], keyHash(C)));
    expect(seqOf(C)).toBe(9);
  });

  it('takes a chunk once, and only the next one', () => {
    const { install, apply, seqOf } = begin();
    const one = chunk(10, [stored(A, 7)], FIRST, keyHash(C));
    expect(install.takeChunk(chunk(10, [stored(C, 8)], keyHash(C)))).toBe(false);
    expect(install.takeChunk(one)).toBe(true);
    apply(logged(11, { kind: 'delete', key: A }));
    expect(install.takeChunk(one)).toBe(false);
    expect(seqOf(A)).toBeUndefined();
    expect(install.entryCount).toBe(1);
    expect(install.next).toEqual(keyHash(C));
  });

  it('is complete with the last chunk and the log up to the newest seq at which one was read', () => {
    const { install } = begin();
    install.takeChunk(chunk(15, [], FIRST, keyHash(C)));
    expect(install.isComplete(20)).toBe(false);
    install.takeChunk(chunk(12, [], keyHash(C)));
    expect(install.isComplete(14)).toBe(false);
    expect(install.isComplete(15)).toBe(true);
  });

  it('keeps what the log brought though its chunk leaves it out, however late the chunk was read', () => {
    const { install, apply, seqOf } = begin(40);
    apply(logged(41, put(A, 'by the log')), logged(42, put(C, 'deleted')), logged(43, { kind: 'delete', key: C }));
    const read = [stored(A, 41), stored(C, 42)];
    expect(install.takeChunk(chunk(50, chunkEntries(read, install.logSeq)))).toBe(true);
    expect([seqOf(A), seqOf(C)]).toEqual([41, undefined]);
    expect(install.entryCount).toBe(0);
  });

  it('a chunk brings what is as old as the start of the log, and nothing newer', () => {
    expect(chunkEntries([stored(A, 40), stored(C, 41)], 40)).toEqual([stored(A, 40)]);
    const old = [stored(A, 39), stored(C, 40)];
    expect(chunkEntries(old, 40)).toBe(old);
  });

  it('takes no chunk that was read before the log of the install begins', () => {
    const { install } = begin(40);
    expect(install.takeChunk(chunk(35, [stored(A, 7)]))).toBe(false);
    expect(install.takeChunk(chunk(40, [stored(A, 7)]))).toBe(true);
  });

  it('begins anew behind everything that the store of one lineage already shows', () => {
    const state = openState('a');
    state.beginInstall(GENERATION, { epoch: 1, seq: 40 });
    state.install!.takeChunk(chunk(50, [stored(A, 45)], FIRST, keyHash(C)));
    // a new leader, which has applied 40 only, orders another install
    state.beginInstall(GENERATION, { epoch: 1, seq: 40 });
    expect(state.install!.takeChunk(chunk(40, []))).toBe(false);
    expect(state.install!.takeChunk(chunk(50, []))).toBe(true);
  });

  it('of another generation begins with an empty store (R3)', () => {
    const state = openState('a');
    state.store.put({ ...stored(A, 99), hash: keyHash(A) });
    state.beginInstall({ counter: 2, id: 'g2' }, { epoch: 5, seq: 40 });
    expect(state.store.entryCount).toBe(0);
    expect(state.isInstalled).toBe(false);
    state.install!.takeChunk(chunk(40, [stored(C, 30)]));
    state.finishInstallIfComplete();
    expect([state.isInstalled, state.appliedSeq, state.generation.counter]).toEqual([true, 40, 2]);
  });
});

describe('a snapshot install that is split', () => {
  const from = (index: number): Hash64 => ({ high: index * 2 ** 30, low: 0 });

  it('has disjoint sub-ranges of equal width that cover everything, and is over when all of them are', () => {
    const { install } = begin();
    install.split(4);
    expect(install.missing).toEqual([0, 1, 2, 3].map((index) => ({ from: from(index), to: index === 3 ? undefined : from(index + 1) })));
    expect(install.progress).toBe(0);
    expect(install.takeChunk(chunk(10, [], from(3)))).toBe(true);
    expect(install.takeChunk(chunk(10, [], from(1), from(2)))).toBe(true);
    expect([install.next, install.progress, install.missing.length]).toEqual([from(0), 0.5, 2]);
    expect(install.takeChunk(chunk(12, [], from(2), from(3)))).toBe(true);
    expect(install.isComplete(12)).toBe(false);
    expect(install.takeChunk(chunk(10, [], from(0), from(1)))).toBe(true);
    expect([install.isComplete(11), install.isComplete(12), install.progress]).toEqual([false, true, 1]);
  });

  // A lies below C: the rest is split between them.
  const split = () => {
    const world = begin();
    world.install.split(INSTALL_RANGES_MAX);
    const of = (key: Buffer) => world.install.missing.find((range) => compareHash(range.from, keyHash(key)) <= 0 && (range.to === undefined || compareHash(keyHash(key), range.to) < 0))!;
    const fill = (key: Buffer, readSeq: number, entries: readonly StoredEntry[]) => world.install.takeChunk({ ...of(key), readSeq, entries });
    return { ...world, of, fill };
  };

  it.each([
    { what: 'delete', gone: logged(12, { kind: 'delete', key: C }) },
    { what: 'eviction (R22)', gone: logged(12, put(A, 'new'), [C]) },
    { what: 'expiry', gone: logged(12, everythingUpTo(1000)) },
  ])('keeps what is told of a $what until the very sub-range comes, whichever ends before (I7)', ({ gone }) => {
    const { apply, fill, seqOf } = split();
    expect(keyHash(A).high >>> 26).not.toBe(keyHash(C).high >>> 26);
    apply(gone);
    expect(fill(A, 10, [])).toBe(true);
    expect(fill(C, 10, [stored(C, 7, { expiresAtMs: 1000 })])).toBe(true);
    expect(seqOf(C)).toBeUndefined();
  });

  it('keeps what is told of a lower sub-range when a higher one ends before', () => {
    const { apply, fill, seqOf } = split();
    apply(logged(12, { kind: 'delete', key: A }));
    expect(fill(C, 14, [stored(C, 7)])).toBe(true);
    expect(fill(A, 10, [stored(A, 7)])).toBe(true);
    expect([seqOf(A), seqOf(C)]).toEqual([undefined, 7]);
  });

  it('replaces in the sub-range alone', () => {
    const { store, fill, seqOf } = split();
    for (const key of [A, C]) store.put({ ...stored(key, 0), hash: keyHash(key) });
    fill(C, 10, []);
    expect([seqOf(A), seqOf(C)]).toEqual([0, undefined]);
  });

  it('takes of a chunk that was asked for before the split what lies below the cut, and the rest from elsewhere', () => {
    const { install, seqOf } = begin();
    const whole = chunk(10, [stored(A, 7), stored(C, 8)]);
    install.split(INSTALL_RANGES_MAX);
    const cut = install.missing[0]!.to;
    const low = KEYS.filter((key) => compareHash(keyHash(key), cut!) < 0);
    expect(install.takeChunk(whole)).toBe(true);
    expect(install.next).toEqual(cut);
    expect(KEYS.filter((key) => seqOf(key) !== undefined)).toEqual(low.filter((key) => key === A || key === C));
    expect(install.takeChunk(whole)).toBe(false);
  });

  it('is split further in the middle, what is widest first, and never into more than its bound', () => {
    const { install } = begin();
    install.split(2);
    install.takeChunk(chunk(10, [], from(0), from(1)));
    install.split(3);
    expect(install.missing).toEqual([{ from: from(1), to: from(2) }, { from: from(2), to: from(3) }, { from: from(3), to: undefined }]);
    install.split(1);
    expect(install.missing).toHaveLength(3);
    install.split(10_000);
    expect(install.missing).toHaveLength(INSTALL_RANGES_MAX);
  });
});

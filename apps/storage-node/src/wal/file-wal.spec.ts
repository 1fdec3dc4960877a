import { MIB } from '@atoll/core-runtime';
import { ObservedFileSystem } from './testing/observed-file-system.ts';
import {
  GENERATION,
  WalFixture,
  batch,
  checkpointNames,
  describeReplicas,
  flush,
  identity,
  replicaId,
  segmentPaths,
} from './testing/wal-fixture.ts';

const fixture = new WalFixture();
afterEach(async () => {
  await fixture.cleanUp();
  fixture.fatal.length = 0;
});

const [a, b] = [replicaId(1), replicaId(2)];

async function openWithReplicas(options: Parameters<WalFixture['open']>[1] = {}) {
  const directory = await fixture.directory();
  const { wal } = await fixture.open(directory, options);
  wal.createReplica(identity(1), GENERATION);
  wal.createReplica(identity(2), GENERATION);
  return { directory, wal };
}

async function reopen(directory: string) {
  const opened = await fixture.open(await fixture.crashCopy(directory));
  return { opened, replicas: await describeReplicas(opened) };
}

describe('FileWal: what a log means', () => {
  it('voids entries above a truncation, also inside a batch (R28)', async () => {
    const { directory, wal } = await openWithReplicas();
    wal.append(a, batch(1, 10));
    wal.append(a, batch(11, 20));
    wal.append(a, batch(21, 30));
    wal.truncate(a, 15);
    wal.append(a, batch(16, 18, { epoch: 2 }));
    await flush(wal);
    expect((await reopen(directory)).replicas[0]?.entries).toEqual([[1, 10], [11, 15], [16, 18]]);
  });

  it('refuses to truncate below the checkpoint (R28) and to leave a gap (I4)', async () => {
    const { wal } = await openWithReplicas();
    wal.append(a, batch(1, 10));
    await wal.checkpoint(a, { epoch: 1, seq: 8 }, 0, []);
    expect(() => wal.truncate(a, 7)).toThrow(/R28/);
    expect(() => wal.append(a, batch(12))).toThrow(/I4/);
    expect(() => wal.append(a, batch(10))).toThrow(/I4/);
    wal.truncate(a, 8);
    wal.append(a, batch(9));
  });

  it('begins anew with a generation (R3)', async () => {
    const { directory, wal } = await openWithReplicas();
    wal.append(a, batch(1, 10));
    await wal.checkpoint(a, { epoch: 1, seq: 10 }, 0, [Buffer.from('old')]);
    wal.noteCommitted(a, 10);
    wal.setGeneration(a, { counter: 2, id: 'bbbb' });
    // The log beside a full install begins where the snapshot does, not at 1 (R33).
    wal.append(a, batch(501, 510, { epoch: 7 }));
    await flush(wal);
    const { replicas } = await reopen(directory);
    expect(replicas[0]).toMatchObject({ generation: { counter: 2, id: 'bbbb' }, checkpoint: undefined, entries: [[501, 510]], committedSeq: 0 });
    expect(await checkpointNames(directory)).toEqual([]);
  });

  it('forgets a dropped replica and its checkpoint', async () => {
    const { directory, wal } = await openWithReplicas();
    wal.append(a, batch(1));
    await wal.checkpoint(a, { epoch: 1, seq: 1 }, 0, [Buffer.from('state')]);
    wal.dropReplica(a);
    await flush(wal);
    const { replicas } = await reopen(directory);
    expect(replicas.map((replica) => replica.replicaId)).toEqual([b]);
    expect(await checkpointNames(directory)).toEqual([]);
    expect(() => wal.append(a, batch(2))).toThrow(/holds no replica/);
  });

  it('writes the highest commit noted, with the next timed flush', async () => {
    const { directory, wal } = await openWithReplicas({ flushIntervalMs: 5 });
    wal.append(a, batch(1, 10));
    await flush(wal);
    const durable = new Promise((resolve) => wal.onDurable(resolve));
    for (let seq = 1; seq <= 9; seq += 1) wal.noteCommitted(a, seq);
    await durable;
    expect((await reopen(directory)).replicas[0]?.committedSeq).toBe(9);
  });

  it('holds a batch of 64 MiB beside small ones', async () => {
    const { directory, wal } = await openWithReplicas();
    wal.append(a, batch(1));
    wal.append(a, { ...batch(2), bytes: Buffer.alloc(64 * MIB + 100, 'big value ') });
    wal.append(a, batch(3));
    await wal.close({ clean: true });
    const { opened } = await reopen(directory);
    const big = opened.replicas[0]?.entries[1]?.bytes ?? Buffer.alloc(0);
    expect(big.length).toBe(64 * MIB + 100);
    expect(Buffer.from(big.subarray(-10)).toString()).toBe('value big ');
    expect(opened.replicas[0]?.entries.map((entry) => entry.lastSeq)).toEqual([1, 2, 3]);
  });
});

describe('FileWal: group commit', () => {
  it('shares one sync among the writers of one turn', async () => {
    const fileSystem = new ObservedFileSystem();
    const { wal } = await openWithReplicas({ fileSystem });
    await flush(wal);
    fileSystem.counts.datasync = 0;
    for (let seq = 1; seq <= 100; seq += 1) {
      wal.append(a, batch(seq));
      wal.requestFlush();
    }
    await flush(wal);
    expect(fileSystem.counts.datasync).toBe(1);
  });

  it('gathers the next group while one is synced', async () => {
    const fileSystem = new ObservedFileSystem();
    const { wal } = await openWithReplicas({ fileSystem });
    await flush(wal);
    fileSystem.counts.datasync = 0;
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    const reached = new Promise<void>((resolve) => {
      fileSystem.before = (operation) => {
        if (operation !== 'datasync') return undefined;
        fileSystem.before = () => undefined;
        resolve();
        return gate;
      };
    });
    const first = wal.append(a, batch(1));
    wal.requestFlush();
    await reached;
    for (let seq = 2; seq <= 50; seq += 1) {
      wal.append(a, batch(seq));
      wal.requestFlush();
    }
    const positions: number[] = [];
    wal.onDurable((position) => positions.push(position));
    expect(wal.durablePosition).toBeLessThan(first);
    open();
    await flush(wal);
    expect(fileSystem.counts.datasync).toBe(2);
    expect(positions).toEqual([first, wal.position]);
    expect(wal.bufferedBytes).toBe(0);
  });

  it('flushes what nobody waits for by itself', async () => {
    const { wal } = await openWithReplicas({ flushIntervalMs: 5 });
    const position = wal.append(a, batch(1));
    await new Promise((resolve) => wal.onDurable(resolve));
    expect(wal.durablePosition).toBeGreaterThanOrEqual(position);
  });

  it('flushes again after a request that found nothing to write', async () => {
    const { wal } = await openWithReplicas();
    await flush(wal);
    for (let seq = 1; seq <= 3; seq += 1) {
      wal.requestFlush();
      await new Promise((resolve) => setImmediate(resolve));
      wal.append(a, batch(seq));
      await flush(wal);
      expect(wal.bufferedBytes).toBe(0);
    }
  });

  it('refuses to buffer without bound (I10)', async () => {
    const { wal } = await openWithReplicas({ bufferBytesMax: 10_000 });
    let seq = 1;
    const fill = () => {
      for (; ; seq += 1) wal.append(a, batch(seq, seq, { bytes: 1000 }));
    };
    expect(fill).toThrow(expect.objectContaining({ reason: 'OVERLOADED' }));
    expect(wal.bufferedBytes).toBeLessThan(12_000);
    await flush(wal);
    wal.append(a, batch(seq));
  });
});

describe('FileWal: a failed write or sync (R25)', () => {
  it.each([
    { operation: 'write' as const, code: 'ENOSPC', message: /no space is left on the device/ },
    { operation: 'datasync' as const, code: 'EIO', message: /input\/output error/ },
  ])('of $operation is fatal, once, and nothing is written after it', async ({ operation, code, message }) => {
    const fileSystem = new ObservedFileSystem();
    const { directory, wal } = await openWithReplicas({ fileSystem });
    await flush(wal);
    const before = wal.durablePosition;
    wal.append(a, batch(1));
    const failed = new Promise<void>((resolve) => {
      fileSystem.before = (done) => {
        if (done !== operation) return;
        fileSystem.before = () => undefined;
        resolve();
        throw Object.assign(new Error('failed'), { code });
      };
    });
    wal.requestFlush();
    await failed;
    await wal.close({ clean: true });
    expect(fixture.fatal).toHaveLength(1);
    expect(fixture.fatal[0]?.message).toMatch(message);
    expect(wal.durablePosition).toBe(before);
    expect(() => wal.append(a, batch(2))).toThrow(message);
    expect((await fixture.open(directory)).report.clean).toBe(false);
  });
});

describe('FileWal: segments', () => {
  const SEGMENT_BYTES = 4096;

  /** Appends `count` batches of 1000 bytes to replica `n`. */
  function appendMany(wal: { append: (id: typeof a, entry: ReturnType<typeof batch>) => number }, id: typeof a, firstSeq: number, count: number): void {
    for (let seq = firstSeq; seq < firstSeq + count; seq += 1) wal.append(id, batch(seq, seq, { bytes: 1000 }));
  }

  it('reads a log over many segments', async () => {
    const { directory, wal } = await openWithReplicas({ segmentBytes: SEGMENT_BYTES });
    appendMany(wal, a, 1, 20);
    await flush(wal);
    appendMany(wal, a, 21, 20);
    await flush(wal);
    expect((await segmentPaths(directory)).length).toBeGreaterThan(9);
    expect((await reopen(directory)).replicas[0]?.entries).toHaveLength(40);
  });

  it('deletes segments that no replica needs, and keeps the replicas', async () => {
    const { directory, wal } = await openWithReplicas({ segmentBytes: SEGMENT_BYTES });
    appendMany(wal, a, 1, 20);
    wal.append(b, batch(1));
    appendMany(wal, a, 21, 20);
    await flush(wal);
    const before = await segmentPaths(directory);
    await wal.checkpoint(a, { epoch: 1, seq: 40 }, 77, [Buffer.from('one'), Buffer.from('two')]);
    await wal.close({ clean: false });
    const after = await segmentPaths(directory);
    // The segment with the one batch of b, and all behind it.
    expect(after.length).toBeLessThan(before.length);
    expect(before.slice(-after.length).slice(0, 2)).toEqual(after.slice(0, 2));
    const { replicas, opened } = await reopen(directory);
    expect(replicas).toMatchObject([
      { replicaId: a, checkpoint: { applied: { epoch: 1, seq: 40 }, timeMs: 77, chunks: ['one', 'two'] }, entries: [] },
      { replicaId: b, entries: [[1, 1]] },
    ]);
    opened.wal.dropReplica(b);
    await opened.wal.close({ clean: true });
    expect(opened.wal.logBytes).toBeLessThan(2 * SEGMENT_BYTES);
  });

  it('names the replicas that pin the oldest segments when the log is too long', async () => {
    const { wal } = await openWithReplicas({ segmentBytes: SEGMENT_BYTES, logBytesMax: 40_000 });
    wal.append(b, batch(1));
    appendMany(wal, a, 1, 20);
    await flush(wal);
    expect(wal.replicasToCheckpoint()).toEqual([]);
    appendMany(wal, a, 21, 20);
    await flush(wal);
    expect(wal.replicasToCheckpoint()).toEqual([a, b]);
    await wal.checkpoint(a, { epoch: 1, seq: 40 }, 0, []);
    expect(wal.replicasToCheckpoint()).toEqual([b]);
    await wal.checkpoint(b, { epoch: 1, seq: 1 }, 0, []);
    expect(wal.replicasToCheckpoint()).toEqual([]);
  });

  it('survives restarts that write nothing without piling up segments', async () => {
    const { directory, wal } = await openWithReplicas();
    await wal.checkpoint(a, { epoch: 3, seq: 9 }, 0, [Buffer.from('state')]);
    await wal.close({ clean: true });
    for (let run = 0; run < 4; run += 1) {
      const opened = await fixture.open(directory);
      expect(await describeReplicas(opened)).toMatchObject([{ checkpoint: { applied: { epoch: 3, seq: 9 } } }, { checkpoint: undefined }]);
      await opened.wal.close({ clean: true });
    }
    expect(await segmentPaths(directory)).toHaveLength(1);
  });
});

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MIB } from '@atoll/core-runtime';
import { ObservedFileSystem } from './testing/observed-file-system.ts';
import { GENERATION, WalFixture, batch, checkpointNames, describeReplicas, flush, identity, replicaId } from './testing/wal-fixture.ts';

const fixture = new WalFixture();
afterEach(async () => {
  await fixture.cleanUp();
  fixture.fatal.length = 0;
});

const a = replicaId(1);

async function openWithCheckpoint() {
  const fileSystem = new ObservedFileSystem();
  const directory = await fixture.directory();
  const { wal } = await fixture.open(directory, { fileSystem });
  wal.createReplica(identity(1), GENERATION);
  wal.append(a, batch(1, 10));
  await wal.checkpoint(a, { epoch: 1, seq: 10 }, 100, [Buffer.from('first')]);
  wal.append(a, batch(11, 20));
  await flush(wal);
  return { fileSystem, directory, wal };
}

const FIRST = { checkpoint: { applied: { epoch: 1, seq: 10 }, timeMs: 100, chunks: ['first'] }, entries: [[11, 20]] };
const SECOND = { checkpoint: { applied: { epoch: 2, seq: 15 }, timeMs: 200, chunks: ['second', 'part'] }, entries: [[11, 20]] };

describe('checkpoint', () => {
  // The steps of a checkpoint; a crash before the log's own sync leaves the old one in force.
  it.each([
    { crash: 'while its file is written', operation: 'datasync' as const, path: /\.checkpoint\.new$/, expected: FIRST, left: 1 },
    { crash: 'before the rename', operation: 'rename' as const, path: /\.checkpoint$/, expected: FIRST, left: 1 },
    { crash: 'after the rename, before it is recorded', operation: 'syncDirectory' as const, path: /checkpoints$/, expected: FIRST, left: 1 },
    { crash: 'before the old file is removed', operation: 'remove' as const, path: /\.checkpoint$/, expected: SECOND, left: 1 },
  ])('survives a crash $crash', async ({ operation, path, expected, left }) => {
    const { fileSystem, directory, wal } = await openWithCheckpoint();
    let copy: string | undefined;
    const copied = new Promise<void>((resolve) => {
      fileSystem.before = async (done, at) => {
        if (copy !== undefined || done !== operation || !path.test(at)) return;
        copy = '';
        copy = await fixture.crashCopy(directory);
        resolve();
      };
    });
    await wal.checkpoint(a, { epoch: 2, seq: 15 }, 200, [Buffer.from('second'), Buffer.from('part')]);
    await copied;
    const opened = await fixture.open(copy ?? '');
    expect(await describeReplicas(opened)).toMatchObject([expected]);
    expect(opened.report.removedFiles).toHaveLength(left);
    expect(await checkpointNames(copy ?? '')).toHaveLength(1);
    await wal.close({ clean: true });
    expect(await describeReplicas(await fixture.open(directory))).toMatchObject([SECOND]);
    expect(await checkpointNames(directory)).toHaveLength(1);
  });

  it('streams chunks of all sizes back as written', async () => {
    const directory = await fixture.directory();
    const { wal } = await fixture.open(directory);
    wal.createReplica(identity(1), GENERATION);
    const chunks = [0, 1, 511, 512, 64 * 1024, 3 * MIB, 20 * MIB].map((bytes, index) => Buffer.alloc(bytes, `chunk ${index} `));
    async function* source() {
      yield* chunks;
    }
    await wal.checkpoint(a, { epoch: 1, seq: 5 }, 0, source());
    await wal.close({ clean: true });
    const { replicas } = await fixture.open(directory);
    let count = 0;
    for await (const chunk of replicas[0]?.checkpoint?.chunks() ?? []) {
      expect(Buffer.compare(chunk, chunks[count] ?? Buffer.from('none'))).toBe(0);
      count += 1;
    }
    expect(count).toBe(chunks.length);
  });

  it('is refused where it is damaged or cut, with file and offset', async () => {
    const { directory, wal } = await openWithCheckpoint();
    await wal.close({ clean: true });
    const path = join(directory, 'checkpoints', (await checkpointNames(directory))[0] ?? '');
    const whole = await readFile(path);
    const opened = await fixture.open(directory);
    for (let offset = 0; offset < whole.length; offset += 1) {
      const flipped = Buffer.from(whole);
      flipped.writeUInt8(flipped.readUInt8(offset) ^ 0x10, offset);
      await writeFile(path, flipped);
      await expect(describeReplicas(opened)).rejects.toMatchObject({ name: 'WalError', file: path, offset: expect.any(Number) });
    }
    await opened.wal.close({ clean: true });
    await writeFile(path, whole.subarray(0, -1));
    await expect(fixture.open(directory)).rejects.toMatchObject({ kind: 'DAMAGED', file: path });
  });

  it('is given up when the replica begins a new generation meanwhile', async () => {
    const { directory, wal } = await openWithCheckpoint();
    async function* source() {
      yield Buffer.from('of the old generation');
      wal.setGeneration(a, { counter: 2, id: 'bbbb' });
      yield Buffer.from('more of it');
    }
    await expect(wal.checkpoint(a, { epoch: 2, seq: 15 }, 0, source())).rejects.toMatchObject({ reason: 'CANCELLED' });
    await flush(wal);
    await wal.close({ clean: true });
    expect(await checkpointNames(directory)).toEqual([]);
  });

  it('is given up when the log is closed meanwhile, and leaves the clean stop clean', async () => {
    const { directory, wal } = await openWithCheckpoint();
    let closed: Promise<void> | undefined;
    async function* source() {
      yield Buffer.from('x');
      closed = wal.close({ clean: true });
      yield Buffer.from('y');
    }
    await expect(wal.checkpoint(a, { epoch: 2, seq: 15 }, 0, source())).rejects.toMatchObject({ reason: 'CANCELLED' });
    await closed;
    const opened = await fixture.open(directory);
    expect(opened.report.clean).toBe(true);
    expect(await describeReplicas(opened)).toMatchObject([FIRST]);
  });

  it('that finds the disk full leaves log and old checkpoint as they are', async () => {
    const { fileSystem, directory, wal } = await openWithCheckpoint();
    fileSystem.before = (operation, path) => {
      if (operation === 'write' && path.includes('checkpoints')) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
    };
    await expect(wal.checkpoint(a, { epoch: 2, seq: 15 }, 0, [Buffer.from('x')])).rejects.toThrow(/no space is left on the device/);
    wal.append(a, batch(21));
    await wal.close({ clean: true });
    expect(fixture.fatal).toEqual([]);
    const [state] = await describeReplicas(await fixture.open(directory));
    expect(state).toMatchObject({ ...FIRST, entries: [[11, 20], [21, 21]] });
  });

  it('whose sync fails ends the process (R25)', async () => {
    const { fileSystem, wal } = await openWithCheckpoint();
    fileSystem.before = (operation, path) => {
      if (operation === 'datasync' && path.includes('checkpoints')) throw Object.assign(new Error('bad disk'), { code: 'EIO' });
    };
    await expect(wal.checkpoint(a, { epoch: 2, seq: 15 }, 0, [Buffer.from('x')])).rejects.toThrow(/a sync failed/);
    expect(fixture.fatal).toHaveLength(1);
    expect(() => wal.append(a, batch(21))).toThrow(/input\/output error/);
  });
});

import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SeededRandom, randomBelow, toNodeId } from '@atoll/core-runtime';
import { WalFixture, GENERATION, batch, describeReplicas, flush, identity, replicaId, segmentPaths } from './testing/wal-fixture.ts';
import { FILE_HEADER_BYTES } from './file-header.ts';
import { nodeFileSystem } from './file-system.ts';
import { FRAME_HEADER_BYTES } from './frame.ts';
import { loadEntries, scanLog } from './recovery.ts';

const OWNER = { clusterId: 'cluster-1', nodeId: 'node-1' };

/** Thousands of files are written and read: how long that takes is the disk's affair. */
const MANY_FILES_MS = 120_000;

const fixture = new WalFixture();
afterEach(() => fixture.cleanUp());

/** A log of two replicas in several groups; resolves to its directory and the segment that holds them, and no clean mark. */
async function writeSmallLog(options: { entryBytes?: number; groups?: number } = {}) {
  const directory = await fixture.directory();
  const { wal } = await fixture.open(directory);
  wal.createReplica(identity(1), GENERATION);
  wal.createReplica(identity(2), GENERATION);
  await flush(wal);
  for (let seq = 1; seq <= (options.groups ?? 5); seq += 1) {
    wal.append(replicaId(1), batch(seq, seq, { bytes: options.entryBytes }));
    wal.append(replicaId(2), batch(2 * seq - 1, 2 * seq, { bytes: options.entryBytes }));
    await flush(wal);
  }
  const copy = await fixture.crashCopy(directory);
  return { directory: copy, path: (await segmentPaths(copy)).at(-1) ?? '' };
}

describe('recovery', () => {
  it('gives back what was made durable before an unclean stop', async () => {
    const { directory } = await writeSmallLog();
    const opened = await fixture.open(directory);
    expect(opened.report).toMatchObject({ clean: false, tornTail: undefined, droppedReplicas: [] });
    expect(await describeReplicas(opened)).toMatchObject([
      { replicaId: replicaId(1), generation: GENERATION, entries: [[1, 1], [2, 2], [3, 3], [4, 4], [5, 5]] },
      { replicaId: replicaId(2), generation: GENERATION, entries: [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]] },
    ]);
    expect(Buffer.from(opened.replicas[1]?.entries[2]?.bytes ?? []).toString()).toBe('entries 5-6;entries 5-6;');
  });

  it('keeps a prefix of the log wherever its last segment was cut', async () => {
    const { directory, path } = await writeSmallLog({ entryBytes: 8, groups: 3 });
    const whole = await readFile(path);
    const segments = join(directory, 'segments');
    let longest = 0;
    for (let bytes = FILE_HEADER_BYTES; bytes <= whole.length; bytes += 1) {
      await writeFile(path, whole.subarray(0, bytes));
      const log = await scanLog(nodeFileSystem, segments, OWNER);
      const entries = [...(await loadEntries(nodeFileSystem, segments, OWNER, log)).values()];
      const count = entries[0]?.length ?? 0;
      for (const batches of entries) {
        // Both replicas' batches of one group stand in one frame, so they come and go together.
        expect(batches).toHaveLength(count);
        expect(batches.map((entry) => entry.firstSeq)).toEqual([1, ...batches.map((entry) => entry.lastSeq + 1)].slice(0, count));
      }
      expect(count).toBeGreaterThanOrEqual(longest);
      const { offset, bytes: cutBytes } = log.tornTail ?? { offset: bytes, bytes: 0 };
      expect(offset + cutBytes).toBe(bytes);
      longest = count;
    }
    expect(longest).toBe(3);
  }, MANY_FILES_MS);

  it('goes on behind a tail that was cut off', async () => {
    const { directory, path } = await writeSmallLog();
    await truncate(path, (await readFile(path)).length - 3);
    const cut = await fixture.open(directory);
    expect(cut.report.tornTail).toMatchObject({ file: path });
    cut.wal.append(replicaId(1), batch(5, 7));
    await cut.wal.close({ clean: true });
    const opened = await fixture.open(directory);
    expect(opened.report).toMatchObject({ clean: true, tornTail: undefined });
    expect(opened.replicas[0]?.entries.map((entry) => entry.lastSeq)).toEqual([1, 2, 3, 4, 7]);
  });

  it('refuses every flipped bit of a log that ends with the mark of a clean stop', async () => {
    const directory = await fixture.directory();
    const { wal } = await fixture.open(directory);
    wal.createReplica(identity(1), GENERATION);
    for (let seq = 1; seq <= 4; seq += 1) {
      wal.append(replicaId(1), batch(seq));
      await flush(wal);
    }
    const endOfEntries = wal.position;
    await wal.close({ clean: true });
    const path = (await segmentPaths(directory)).at(-1) ?? '';
    const whole = await readFile(path);
    const random = new SeededRandom(7);
    for (let offset = 0; offset < endOfEntries; offset += 1) {
      const flipped = Buffer.from(whole);
      flipped.writeUInt8(flipped.readUInt8(offset) ^ (1 << randomBelow(random, 8)), offset);
      await writeFile(path, flipped);
      const scan = scanLog(nodeFileSystem, join(directory, 'segments'), OWNER);
      await expect(scan).rejects.toMatchObject({ name: 'WalError', file: path, offset: expect.any(Number) });
    }
    await expect(fixture.open(directory)).rejects.toMatchObject({ kind: 'DAMAGED', file: path });
    await writeFile(path, whole);
    expect((await fixture.open(directory)).replicas[0]?.entries).toHaveLength(4);
  }, MANY_FILES_MS);

  it('cuts a frame of the last group with an unwritten sector: nothing proves that it was ever synced', async () => {
    const { directory, path } = await writeSmallLog({ entryBytes: 2000 });
    const { frameOffset, frameBytes } = await overwriteSector(path, { groupsFromEnd: 1, fill: 0 });
    const opened = await fixture.open(directory);
    expect(opened.report.tornTail).toEqual({ file: path, offset: frameOffset, bytes: frameBytes });
    expect(opened.replicas[0]?.entries).toHaveLength(4);
  });

  it.each([
    { what: 'written, but wrong bytes in the last group', groupsFromEnd: 1, fill: 0xee },
    { what: 'an unwritten sector of the group before, because the last one was written only after its sync', groupsFromEnd: 2, fill: 0 },
  ])('refuses $what', async ({ groupsFromEnd, fill }) => {
    const { directory, path } = await writeSmallLog({ entryBytes: 2000 });
    const { frameOffset, bytes } = await overwriteSector(path, { groupsFromEnd, fill });
    await expect(fixture.open(directory)).rejects.toMatchObject({ kind: 'DAMAGED', file: path, offset: frameOffset });
    expect(await readFile(path)).toEqual(bytes);
  });

  it('finds the proof of damage behind a frame whose header is lost', async () => {
    const { directory, path } = await writeSmallLog({ entryBytes: 2000 });
    const bytes = await readFile(path);
    const offset = bytes.length - 3 * lastFrameBytes(bytes);
    bytes.fill(0, offset, offset + FRAME_HEADER_BYTES);
    await writeFile(path, bytes);
    await expect(fixture.open(directory)).rejects.toMatchObject({ kind: 'DAMAGED', file: path, offset });
  });

  it('refuses damage in a segment that is not the last, also where it looks like a torn write', async () => {
    const { directory, path } = await writeSmallLog();
    const { wal } = await fixture.open(directory);
    await wal.close({ clean: false });
    await truncate(path, (await readFile(path)).length - 1);
    await expect(fixture.open(directory)).rejects.toMatchObject({ kind: 'DAMAGED', file: path });
  });

  it('refuses a log with a missing segment', async () => {
    const { directory } = await writeSmallLog();
    for (let run = 0; run < 2; run += 1) {
      const { wal } = await fixture.open(directory);
      wal.append(replicaId(1), batch(6 + run));
      await wal.close({ clean: true });
    }
    const [first = '', second = ''] = await segmentPaths(directory);
    const bytes = await readFile(second);
    await rm(second);
    await expect(fixture.open(directory)).rejects.toMatchObject({ kind: 'DAMAGED', file: second });
    await writeFile(second, bytes);
    await rm(first);
    await expect(fixture.open(directory)).rejects.toThrow(/lacks seq 1/);
  });

  it('belongs to one cluster and one node', async () => {
    const { directory } = await writeSmallLog();
    await expect(fixture.open(directory, { clusterId: 'cluster-2' })).rejects.toMatchObject({ reason: 'WRONG_CLUSTER' });
    await expect(fixture.open(directory, { nodeId: toNodeId('node-2') })).rejects.toMatchObject({ reason: 'WRONG_CLUSTER' });
    expect((await fixture.open(directory)).replicas).toHaveLength(2);
  });

  it('says which format it does not know', async () => {
    const { directory, path } = await writeSmallLog();
    const bytes = await readFile(path);
    const { crc32 } = await import('node:zlib');
    bytes.writeUInt32LE(2, 8);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, FILE_HEADER_BYTES - 4)), FILE_HEADER_BYTES - 4);
    await writeFile(path, bytes);
    await expect(fixture.open(directory)).rejects.toMatchObject({ kind: 'UNKNOWN_FORMAT', file: path });
  });

  it('keeps ASYNC replicas across a clean stop only, SYNC ones across any (R1)', async () => {
    const directory = await fixture.directory();
    const first = await fixture.open(directory);
    first.wal.createReplica(identity(1, 'SYNC'), GENERATION);
    first.wal.createReplica(identity(2, 'ASYNC'), GENERATION);
    first.wal.append(replicaId(2), batch(1));
    await first.wal.checkpoint(replicaId(2), { epoch: 1, seq: 1 }, 5, [Buffer.from('state')]);
    await first.wal.close({ clean: true });

    const second = await fixture.open(directory);
    expect(second.replicas.map((replica) => [replica.identity.durability, replica.clean])).toEqual([['SYNC', true], ['ASYNC', true]]);
    const crashed = await fixture.crashCopy(directory);

    const third = await fixture.open(crashed);
    expect(third.replicas.map((replica) => [replica.identity.durability, replica.clean])).toEqual([['SYNC', false]]);
    expect(third.report.droppedReplicas).toEqual([identity(2, 'ASYNC')]);
    expect(third.report.removedFiles).toHaveLength(1);
    await third.wal.close({ clean: true });
    expect((await fixture.open(crashed)).replicas).toHaveLength(1);
  });
});

/** Length of the log's frames, which are all alike but for the first two. */
function lastFrameBytes(bytes: Buffer): number {
  return bytes.length - bytes.lastIndexOf('AWF1');
}

/** Overwrites a whole disk sector inside the frame that is the `groupsFromEnd`th from the end. */
async function overwriteSector(path: string, options: { groupsFromEnd: number; fill: number }) {
  const bytes = await readFile(path);
  const frameBytes = lastFrameBytes(bytes);
  const frameOffset = bytes.length - options.groupsFromEnd * frameBytes;
  const sector = Math.ceil((frameOffset + FRAME_HEADER_BYTES + 600) / 512) * 512;
  bytes.fill(options.fill, sector, sector + 512);
  await writeFile(path, bytes);
  return { bytes, frameOffset, frameBytes };
}

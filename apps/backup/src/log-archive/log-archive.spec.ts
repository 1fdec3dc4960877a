import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CLOCK_SLACK_MS, planRestore, sliceOf, totalsOf, type ArchivedRange, type Manifest } from '@atoll/core-archive';
import { encodeEntry, encodedBytes, type LogEntry } from '@atoll/core-replication';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { Repository, Session, nodeArchiveCodec, openFileObjectStore } from '@atoll/platform-repository';
import type { Duty } from '../jobs/duty.ts';
import { goesOnFrom, knownLogs, readLogs } from './log-archives.ts';
import { MERGED_AT_ONCE, isCovered, levelOf, mergeLogs, mergeable, removeOldLogs } from './log-merge.ts';
import { LogRange, areReadToTheEnd, keyOf, type LogRun } from './log-range.ts';
import { writeSegment, type SegmentRange } from './log-segment.ts';

const PARTITIONS = 4;
const KEYSPACE = { name: 'orders', id: 'k1', partitionCount: PARTITIONS, settings: {} };
const GENERATION = { counter: 1, id: 'g1' };
const signal = new AbortController().signal;

describe('archives of log', () => {
  let directory: string;
  let repository: Repository;
  let sessions = 0;
  const nextSession = () => ({ clusterId: 'c', fencingToken: 1, number: (sessions += 1) });
  const duty = { lock: { isHeld: () => true, fencingToken: 1 }, view: { clusterId: 'c' }, signal, nextSession } as unknown as Duty;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'atoll-log-'));
    repository = await Repository.open({ store: await openFileObjectStore(directory), codec: nodeArchiveCodec }, { newId: 'r', nowMs: 0 });
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  function put(partition: number, seq: number): Buffer {
    const entry: LogEntry = { epoch: 1, seq, stampMs: 1000 * seq, opId: undefined, evicted: [], operation: { kind: 'put', key: Buffer.from(`key-${partition}`), value: Buffer.from(`${partition}:${seq}`), expiresAtMs: 0 } };
    const bytes = Buffer.alloc(encodedBytes(entry));
    encodeEntry(entry, bytes, 0);
    return bytes;
  }

  /** Entries (from, to] of each partition; a barrier at its end. */
  async function publish(number: number, from: number, to: number, partitions = [0, 1, 2, 3]): Promise<Manifest> {
    const id = `log-0-${1000 * number}-1-${number}`;
    const session = await Session.begin({ repository, id: nextSession(), purpose: 'WRITE', archive: id, uses: [], owner: 'spec', startedAtMs: 0, isHeld: () => true });
    const ranges = partitions.map((partition): SegmentRange => ({ keyspace: KEYSPACE, partition, generation: GENERATION, after: { epoch: 1, seq: from }, upTo: { epoch: 1, seq: to }, firstMs: 1000 * from, lastMs: 1000 * to, barriers: [{ id: `b${to}`, seq: to }], runs: [Buffer.concat(Array.from({ length: to - from }, (_, index) => put(partition, from + index + 1)))] }));
    const name = { id, clusterId: 'c', session: session.id, startedAtMs: 1000 * number, finishedAtMs: 1000 * number + 900, barriers: [{ id: `b${to}`, atMs: 1000 * to }] };
    const manifest = await writeSegment(ranges, name, { codec: repository.codec, chunks: { level: 1 }, put: (chunk) => session.putChunk(chunk), signal });
    await session.publish(manifest);
    await session.end();
    return manifest;
  }

  const rangeOf = (manifest: Manifest, partition: number): ArchivedRange => manifest.keyspaces[0]!.ranges.find((range) => range.partition === partition)!;
  async function logOf(manifests: readonly Manifest[], partition: number): Promise<string> {
    const runs: Buffer[] = [];
    for (const manifest of manifests) for (const chunk of rangeOf(manifest, partition).chunks) runs.push(sliceOf((await repository.readChunk(chunk)).plain, chunk));
    return Buffer.concat(runs).toString('hex');
  }
  const expected = (partition: number, to: number): string => Buffer.concat(Array.from({ length: to }, (_, index) => put(partition, index + 1))).toString('hex');

  it('are one object for the log of all partitions, of which each has its slice', async () => {
    const manifest = await publish(1, 0, 5);
    expect(totalsOf(manifest)).toMatchObject({ chunks: 1, ranges: PARTITIONS, entries: 5 * PARTITIONS });
    for (let partition = 0; partition < PARTITIONS; partition += 1) expect(await logOf([await repository.readManifest(manifest.id)], partition)).toBe(expected(partition, 5));
  });

  it('become one, which takes their place, and a restore goes by it as it went by them', async () => {
    for (let number = 1; number <= MERGED_AT_ONCE; number += 1) await publish(number, number - 1, number);
    const before = await readLogs(repository, 'c');
    await mergeLogs(repository, before, { duty, chunks: { level: 1 }, key: undefined });
    const { logs, places } = await readLogs(repository, 'c');
    expect(logs.map((log) => [levelOf(log), log.startedAtMs, log.finishedAtMs, log.barriers.length])).toEqual([[1, 1000, 1000 * MERGED_AT_ONCE + 900, MERGED_AT_ONCE]]);
    expect([...places]).toEqual([...before.places]);
    for (let partition = 0; partition < PARTITIONS; partition += 1) expect(await logOf(logs, partition)).toBe(expected(partition, MERGED_AT_ONCE));
    const full: Manifest = { ...logs[0]!, id: 'full', kind: 'FULL', barriers: [{ id: 'cut', atMs: 3000 }], keyspaces: logs[0]!.keyspaces.map((keyspace) => ({ ...keyspace, ranges: keyspace.ranges.map((range) => ({ ...range, after: undefined, upTo: { epoch: 1, seq: 3 }, lastMs: 3000, barriers: [], chunks: [] })) })) };
    const planned = (by: readonly Manifest[]) => planRestore({ manifests: [full, ...by], archive: 'full', keyspace: 'orders', targetPartitions: 2, moment: { atMs: 9500, exact: false } });
    expect(planned(logs)).toMatchObject({ atMs: planned(before.logs).atMs, archives: ['full', logs[0]!.id] });
    expect(planned(logs).atMs).toBe(9000);
  });

  it('stay as they are while they are few, and across a gap', async () => {
    const manifests: Manifest[] = [];
    for (let number = 1; number <= MERGED_AT_ONCE; number += 1) manifests.push(await publish(number, number - 1, number));
    expect(mergeable(manifests.slice(0, -1))).toBeUndefined();
    const torn = manifests.map((manifest, index) => (index < 8 ? manifest : { ...manifest, keyspaces: manifest.keyspaces.map((keyspace) => ({ ...keyspace, ranges: keyspace.ranges.map((range) => ({ ...range, generation: { counter: 2, id: 'g2' } })) })) }));
    expect(mergeable(torn)?.map(({ id }) => id)).toEqual(torn.slice(0, 8).map(({ id }) => id));
  });

  it('that one of a higher level has are removed, and those that are old', async () => {
    const [first, second] = [await publish(1, 0, 1), await publish(2, 1, 2)];
    const whole = { ...(await publish(3, 0, 2)), id: 'log-1-1000-1-2900', startedAtMs: 1000, finishedAtMs: 2900, barriers: [...first.barriers, ...second.barriers] };
    expect([first, second, whole].map((log) => isCovered(log, [first, second, whole]))).toEqual([true, true, false]);
    expect(isCovered(first, [{ ...whole, barriers: second.barriers }])).toBe(false);
    const known = { ...(await readLogs(repository, 'c')), logs: [first, second] };
    await removeOldLogs(repository, known, { by: nextSession, nowMs: 2000, keepMs: 0 });
    const left = async (): Promise<string[]> => (await readLogs(repository, 'c')).logs.map(({ id }) => id);
    expect(await left()).toEqual([second.id, 'log-0-3000-1-3']);
    await removeOldLogs(repository, { ...known, oldestCutMs: 5000 + CLOCK_SLACK_MS }, { by: nextSession, nowMs: 2000, keepMs: 1e6 });
    expect(await left()).toEqual(['log-0-3000-1-3']);
  });

  describe('of a service whose wall clock jumps', () => {
    /** As `publish`, with another clock: everything else is of the partitions. */
    const publishedAt = async (startedAtMs: number, number: number, from: number, to: number): Promise<Manifest> => ({ ...(await publish(number, from, to)), startedAtMs, finishedAtMs: startedAtMs + 900 });

    it('back: they go on from each other all the same, in the order in which they were written', async () => {
      const logs = [await publishedAt(50_000, 1, 0, 3), await publishedAt(60_000, 2, 3, 5), await publishedAt(1000, 3, 5, 9)];
      const known = knownLogs(logs.toReversed());
      expect(known.logs.map(({ id }) => id)).toEqual(logs.map(({ id }) => id));
      expect(known.places.get(keyOf('k1', 0))).toMatchObject({ position: { seq: 9 }, since: { seq: 0 } });
      const many: Manifest[] = [];
      for (let number = 4; many.length < MERGED_AT_ONCE; number += 1) many.push(await publishedAt(number % 2 === 0 ? 90_000 : 2000, number, number, number + 1));
      expect(mergeable(knownLogs(many.toReversed()).logs)).toEqual(many);
    });

    it('back into the time of what was made one: what is new is not taken for a part of it, and stays', async () => {
      const whole = { ...(await publish(1, 0, 5)), id: 'log-1-1000-1-90000', startedAtMs: 1000, finishedAtMs: 90_000 };
      const later = { ...(await publishedAt(5000, 2, 5, 6)), barriers: [] };
      expect(isCovered(later, [whole, later])).toBe(false);
    });

    it('forward: none of them is older for that than the newest one makes it', async () => {
      const logs = [await publish(1, 0, 5), await publish(2, 5, 6)];
      await removeOldLogs(repository, await readLogs(repository, 'c'), { by: nextSession, nowMs: 1e12, keepMs: 3000 });
      expect((await readLogs(repository, 'c')).logs).toHaveLength(logs.length);
      // The clock that wrote them was far behind: that of the partitions counts.
      await removeOldLogs(repository, { ...(await readLogs(repository, 'c')), oldestCutMs: CLOCK_SLACK_MS + 4500 }, { by: nextSession, nowMs: 1e12, keepMs: 3000 });
      expect((await readLogs(repository, 'c')).logs).toHaveLength(logs.length);
    });
  });

  it('lead to no later moment while log is left that was too much for one round', () => {
    const place = { generation: GENERATION, position: { epoch: 1, seq: 1 }, timeMs: 0, since: { epoch: 1, seq: 1 } };
    const ranges = [0, 1, 2].map((partition) => new LogRange(KEYSPACE as unknown as KeyspaceSpec, partition, partition === 2 ? undefined : place));
    const run = (range: LogRange | undefined, isToTheEnd: boolean): LogRun => ({ range: range!, from: place, runs: [], bytes: 0, upTo: place.position, timeMs: 0, isToTheEnd, barrierSeq: undefined });
    const [first, second] = ranges;
    expect(areReadToTheEnd(ranges, [run(first, true), run(second, true)])).toBe(true);
    expect(areReadToTheEnd(ranges, [run(first, true), run(second, false)])).toBe(false);
    expect(areReadToTheEnd(ranges, [run(first, true)])).toBe(false);
  });

  it('are read once, and of cuts their places alone are kept', async () => {
    const log = await publish(1, 0, 3);
    const known = new Map<string, Manifest>();
    await readLogs(repository, 'c', known);
    const [key] = known.keys();
    known.set(key!, { ...log, id: 'as-it-was-read' });
    expect((await readLogs(repository, 'c', known)).logs.map(({ id }) => id)).toEqual(['as-it-was-read']);
    await removeOldLogs(repository, await readLogs(repository, 'c'), { by: nextSession, nowMs: 1e9, keepMs: -1e9 });
    expect([(await readLogs(repository, 'c', known)).logs, known.size]).toEqual([[], 0]);
  });

  it('tell where to go on, and from where on there is no gap', async () => {
    const [first, second] = [await publish(1, 0, 3), await publish(2, 3, 5)];
    const later = { ...second, id: 'log-0-9', startedAtMs: 9000, keyspaces: second.keyspaces.map((keyspace) => ({ ...keyspace, ranges: keyspace.ranges.map((range) => ({ ...range, after: { epoch: 1, seq: 7 }, upTo: { epoch: 1, seq: 9 } })) })) };
    const at = (manifests: readonly Manifest[]) => knownLogs(manifests).places.get(keyOf('k1', 0))!;
    expect(at([second, first])).toMatchObject({ position: { seq: 5 }, since: { seq: 0 } });
    expect(at([first, later, second])).toMatchObject({ position: { seq: 9 }, since: { seq: 7 } });
    const cut = (seq: number) => ({ generation: GENERATION, position: { epoch: 1, seq }, timeMs: 0, atMs: 1 });
    expect([goesOnFrom(at([first, later]), cut(6)), goesOnFrom(at([first, later]), cut(7)), goesOnFrom(at([first]), undefined)]).toEqual([false, true, false]);
  });
});

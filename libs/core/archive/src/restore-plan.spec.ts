import { tokenRangeOf } from '@atoll/core-placement';
import { toPartitionId } from '@atoll/core-runtime';
import { isAtollError } from '@atoll/core-errors';
import type { ArchiveKind, ArchivedRange, ChunkRef, Manifest } from './manifest.ts';
import { planRestore, type RestoreAsk, type RestorePlan } from './restore-plan.ts';
import { planRetention } from './retention.ts';

const PARTITIONS = 4;
const HOUR = 3600 * 1000;
const DAY = 24 * HOUR;

let chunks = 0;
const rows = (): ChunkRef => ({ id: `rows-${(chunks += 1)}`, kind: 'ROWS', storedBytes: 10, plainBytes: 100, entries: 2, deletes: 0, hashes: { first: { high: 0, low: 0 }, last: { high: 1, low: 1 } } });
/** Entries of seq n are stamped at 1000 + n. */
const log = (firstSeq: number, lastSeq: number): ChunkRef => ({ id: `log-${firstSeq}-${lastSeq}`, kind: 'LOG', storedBytes: 5, plainBytes: 50, entries: lastSeq - firstSeq + 1, deletes: 0, log: { firstSeq, lastSeq, firstMs: 1000 + firstSeq, lastMs: 1000 + lastSeq } });

function archive(id: string, kind: ArchiveKind, fields: Partial<Manifest>, rangeOf: (partition: number) => Partial<ArchivedRange>, partitionCount = PARTITIONS): Manifest {
  const ranges = Array.from({ length: partitionCount }, (_, partition): ArchivedRange => ({
    partition,
    tokens: tokenRangeOf(toPartitionId(partition), partitionCount),
    generation: { counter: 1, id: 'g' },
    after: undefined,
    upTo: { epoch: 1, seq: 0 },
    firstMs: 0,
    lastMs: 0,
    contentBytes: 0,
    digest: kind === 'LOG' ? undefined : { entries: 2, sum: { high: 0, low: 0 } },
    barriers: [],
    chunks: [],
    ...rangeOf(partition),
  }));
  const base = { id, kind, clusterId: 'c', parent: undefined, session: 's', writtenBy: '0', startedAtMs: 0, finishedAtMs: 0, barriers: [], keyId: undefined };
  return { ...base, keyspaces: [{ name: 'default', id: 'k', partitionCount, settings: {}, ranges }], ...fields };
}

const seq = (at: number) => ({ epoch: 1, seq: at });
// cuts:   full at 10             increment at 20
// logs:         |-- a: 5..15 --|-- b: 15..30 --|      barriers at 12 and 25
const full = archive('full', 'FULL', { barriers: [{ id: 'cut-10', atMs: 1010 }] }, () => ({ upTo: seq(10), chunks: [rows(), log(8, 10)] }));
const increment = archive('increment', 'INCREMENTAL', { parent: 'full', barriers: [{ id: 'cut-20', atMs: 1020 }] }, () => ({ after: seq(10), upTo: seq(20), chunks: [rows()] }));
const logA = archive('log-a', 'LOG', { startedAtMs: 1005, finishedAtMs: 1015, barriers: [{ id: 'b-12', atMs: 1012 }] }, () => ({ after: seq(5), upTo: seq(15), firstMs: 1006, lastMs: 1015, barriers: [{ id: 'b-12', seq: 12 }], chunks: [log(6, 9), log(10, 15)] }));
const logB = archive('log-b', 'LOG', { startedAtMs: 1015, finishedAtMs: 1030, barriers: [{ id: 'b-25', atMs: 1025 }] }, () => ({ after: seq(15), upTo: seq(30), firstMs: 1016, lastMs: 1030, barriers: [{ id: 'b-25', seq: 25 }], chunks: [log(16, 22), log(23, 30)] }));
const ALL = [logB, increment, logA, full];

const plan = (ask: Partial<RestoreAsk>): RestorePlan => planRestore({ manifests: ALL, archive: 'increment', keyspace: 'default', targetPartitions: PARTITIONS, ...ask });
/** `archive/chunk (after..upTo]` of the first source. */
const stepsOf = ({ groups }: RestorePlan): string[] =>
  groups[0]!.sources[0]!.steps.map(({ archive: of, chunk, afterSeq, upToSeq }) => `${of} ${chunk.kind === 'ROWS' ? 'rows' : chunk.id}${afterSeq === undefined ? '' : ` after ${afterSeq}`}${upToSeq === undefined ? '' : ` up to ${upToSeq}`}`);
function failureOf(act: () => unknown): string {
  try {
    act();
    return 'it did not fail';
  } catch (error) {
    return isAtollError(error) ? `${error.reason}: ${error.message}` : String(error);
  }
}

describe('the plan of a restore', () => {
  it('of an archive reads its chain from the full one on, rows before log', () => {
    const planned = plan({});
    expect(planned).toMatchObject({ archives: ['full', 'increment'], atMs: 1020, isExact: false, chunks: 12, storedBytes: 4 * (10 + 5 + 10), entries: 8 });
    expect(stepsOf(planned)).toEqual(['full rows', 'full log-8-10', 'increment rows']);
    expect(planned.memoryBytesMax).toBe(4 * (100 + 50 + 100 + 128 * (2 + 3 + 2)));
    expect(planned.groups[0]!.sources[0]!.upTo).toEqual({ seq: 20 });
  });

  // source (4)  |0|1|2|3|     a group is the coarser of both ranges, and nothing is read twice
  it.each([
    [1, [[[0, 1, 2, 3], [0]]]],
    [2, [[[0, 1], [0]], [[2, 3], [1]]]],
    [4, [[[0], [0]], [[1], [1]], [[2], [2]], [[3], [3]]]],
    [8, [[[0], [0, 1]], [[1], [2, 3]], [[2], [4, 5]], [[3], [6, 7]]]],
  ])('into %i partitions is parallel by range', (targetPartitions, expected) => {
    const { groups, chunks: count } = plan({ targetPartitions });
    expect(groups.map(({ sources, targets }) => [sources.map(({ partition }) => partition), targets])).toEqual(expected);
    expect(count).toBe(12);
  });

  it('to a moment goes on with the log to the last barrier before it (R40), from whatever cut', () => {
    const later = plan({ moment: { atMs: 1029, exact: false } });
    expect(later).toMatchObject({ archives: ['full', 'increment', 'log-b'], atMs: 1025, isExact: false });
    expect(stepsOf(later).slice(3)).toEqual(['log-b log-16-22 after 20', 'log-b log-23-30 up to 25']);
    const fromFull = plan({ archive: 'full', moment: { atMs: 1029, exact: false } });
    expect(stepsOf(fromFull).slice(2)).toEqual(['log-a log-10-15 after 10', 'log-b log-16-22', 'log-b log-23-30 up to 25']);
    expect(plan({ archive: 'full', moment: { atMs: 1019, exact: false } })).toMatchObject({ archives: ['full', 'log-a'], atMs: 1012 });
    // No barrier between the cut and the moment: the cut it is.
    expect(plan({ moment: { atMs: 1022, exact: false } })).toMatchObject({ archives: ['full', 'increment'], atMs: 1020 });
  });

  it('to a moment that is meant exactly reads the log up to it', () => {
    const planned = plan({ moment: { atMs: 1022, exact: true } });
    expect(planned).toMatchObject({ atMs: 1022, isExact: true });
    expect(stepsOf(planned).slice(3)).toEqual(['log-b log-16-22 after 20']);
    expect(planned.groups[0]!.sources[0]!.upTo).toEqual({ atMs: 1022 });
  });

  it('to an exact moment does not fail for partitions to which nothing was written since: the log says until when that is known', () => {
    const busy = archive('log-c', 'LOG', { startedAtMs: 1030 }, (partition) => (partition === 3 ? { after: seq(30), upTo: seq(30), firstMs: 1030, lastMs: 1039, chunks: [] } : { after: seq(30), upTo: seq(40), firstMs: 1030, lastMs: 1040, chunks: [log(31, 40)] }));
    const all = [full, increment, logA, logB, busy];
    expect(plan({ manifests: all, moment: { atMs: 1038, exact: true } }).groups[0]!.sources.map(({ upTo }) => upTo)).toEqual([{ atMs: 1038 }]);
    expect(plan({ manifests: all, moment: { atMs: 1038, exact: true }, targetPartitions: 1 }).groups[0]!.sources.map(({ steps }) => steps.at(-1)!.archive)).toEqual(['log-c', 'log-c', 'log-c', 'log-b']);
    expect(failureOf(() => plan({ manifests: all, moment: { atMs: 1040, exact: true } }))).toBe('ARCHIVE_NOT_FOUND: partition 3: no log goes on from seq 30; the logs lead to 1970-01-01T00:00:01.039Z');
  });

  it('a barrier that not every partition has is none', () => {
    const torn = archive('log-b', 'LOG', { startedAtMs: 1015, barriers: [{ id: 'b-25', atMs: 1025 }] }, (partition) => ({ after: seq(15), upTo: seq(30), barriers: partition === 3 ? [] : [{ id: 'b-25', seq: 25 }], chunks: [log(16, 30)] }));
    expect(plan({ manifests: [full, increment, torn], moment: { atMs: 1029, exact: false } })).toMatchObject({ atMs: 1020 });
  });

  it.each<[string, Partial<RestoreAsk>, string]>([
    ['an archive that is not there', { archive: 'none' }, 'ARCHIVE_NOT_FOUND: there is no archive none'],
    ['a parent that is not there', { manifests: [increment] }, 'ARCHIVE_NOT_FOUND: increment goes on from full, which is not there'],
    ['a keyspace that is not in it', { keyspace: 'orders' }, 'ARCHIVE_NOT_FOUND: increment has no keyspace orders'],
    ['a log by itself', { archive: 'log-a' }, 'INVALID_ARGUMENT: archive: log-a is a log, and says nothing by itself'],
    ['a moment before the cut', { moment: { atMs: 1019, exact: true } }, 'INVALID_ARGUMENT: moment: lies before the cut of increment'],
    ['a moment behind the log', { moment: { atMs: 1031, exact: true } }, 'ARCHIVE_NOT_FOUND: partition 0: no log goes on from seq 30; the logs lead to 1970-01-01T00:00:01.030Z'],
    ['a log with a hole', { archive: 'full', manifests: [full, logB], moment: { atMs: 1029, exact: false } }, 'ARCHIVE_NOT_FOUND: partition 0: no log goes on from seq 10'],
    ['a count that is no power of two', { targetPartitions: 3 }, 'INVALID_ARGUMENT: partition_count: must be a power of two from 1 to 4096, is 3'],
    ['an increment that begins too late', { manifests: [full, { ...increment, keyspaces: [{ ...increment.keyspaces[0]!, ranges: increment.keyspaces[0]!.ranges.map((range) => ({ ...range, after: seq(11) })) }] }] }, 'ARCHIVE_NOT_FOUND: increment: partition 0 begins behind seq 11, and what is before it ends at 10'],
  ])('refuses %s', (_, ask, expected) => {
    expect(failureOf(() => plan(ask))).toBe(expected);
  });
});

describe('retention', () => {
  const NOW = Date.UTC(2026, 10, 22, 12);
  const cut = (id: string, atMs: number, parent?: string): Manifest => archive(id, parent === undefined ? 'FULL' : 'INCREMENTAL', { parent, finishedAtMs: atMs, barriers: [{ id, atMs }] }, () => ({}), 1);
  const logOf = (id: string, atMs: number): Manifest => archive(id, 'LOG', { finishedAtMs: atMs }, () => ({}), 1);
  // f1 <- i1 <- i2, then f2, then f3; logs all the while
  const manifests = [cut('f1', NOW - 10 * DAY), cut('i1', NOW - 9 * DAY, 'f1'), cut('i2', NOW - 8 * DAY, 'i1'), cut('f2', NOW - 2 * DAY), cut('f3', NOW - HOUR), logOf('l1', NOW - 9.5 * DAY), logOf('l2', NOW - DAY)];

  it.each<[string, Parameters<typeof planRetention>[1], string[]]>([
    ['no rule keeps all', {}, []],
    ['by count, logs as far as a cut that stays', { count: 2 }, ['i2', 'i1', 'f1', 'l1']],
    ['what an increment goes on from stays with it', { count: 3 }, []],
    ['by age', { ageMsMax: 3 * DAY }, ['i2', 'i1', 'f1', 'l1']],
    ['the newest cut stays whatever its age', { ageMsMax: 0 }, ['i2', 'i1', 'f1', 'f2', 'l1', 'l2']],
    ['by generations: the newest of each week', { generations: { weeks: 2 } }, ['f2']],
    ['by generations: three days', { generations: { days: 3 } }, ['i2', 'i1', 'f1', 'l1']],
    ['by generations: months, where all are of one', { generations: { months: 12 } }, ['i2', 'i1', 'f1', 'f2', 'l1', 'l2']],
    ['what any rule keeps stays', { count: 1, ageMsMax: 3 * DAY }, ['i2', 'i1', 'f1', 'l1']],
  ])('%s', (_, policy, remove) => {
    const planned = planRetention(manifests, policy, NOW);
    expect([...planned.remove].sort()).toEqual([...remove].sort());
    expect([...planned.keep, ...planned.remove].sort()).toEqual(manifests.map(({ id }) => id).sort());
    // Children go before what they go on from.
    const parentOf = (id: string): string | undefined => manifests.find((manifest) => manifest.id === id)!.parent;
    expect(planned.remove.filter((id, at) => planned.remove.slice(0, at).includes(parentOf(id) ?? ''))).toEqual([]);
  });
});

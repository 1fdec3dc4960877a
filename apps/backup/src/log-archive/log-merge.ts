// Many archives of some seconds of log become one, and some of these one again, so that a day is some dozens of archives and not ten
// thousands (as levels of an LSM tree: O'Neil et al., "The Log-Structured Merge-Tree", 1996). What was made one is removed when that is
// published; until then both are there, which a restore takes for what it is: the same log twice.
import { CLOCK_SLACK_MS, type ArchiveKey, type ArchivedKeyspace, type ArchivedRange, type ChunkSettings, type Manifest } from '@atoll/core-archive';
import { isAtollError } from '@atoll/core-errors';
import { MIB } from '@atoll/core-runtime';
import { removeArchives, type Repository, type SessionId } from '@atoll/platform-repository';
import { beginSession, type Duty } from '../jobs/duty.ts';
import { ChunkCache } from '../restore/chunk-cache.ts';
import type { KnownLogs } from './log-archives.ts';
import { keyOf } from './log-range.ts';
import { writeSegment, type SegmentRange } from './log-segment.ts';

/** So many of one level become one of the next. */
export const MERGED_AT_ONCE = 32;
const LEVEL_MAX = 2;
/** What is larger stays as it is: a merge is done again from its beginning when it is interrupted. */
const MERGED_BYTES_MAX = 256 * MIB;
const CACHE_BYTES = 64 * MIB;
const REMOVED_AT_ONCE = 64;
const NAME = /^log-(\d)-\d+/;

export const levelOf = ({ id }: Pick<Manifest, 'id'>): number => Number(NAME.exec(id)?.[1] ?? LEVEL_MAX);

/** The archives to be made one: neighbours of one level, of which nothing else is between. Undefined: there are too few. */
export function mergeable(logs: readonly Manifest[]): readonly Manifest[] | undefined {
  for (let level = 0; level < LEVEL_MAX; level += 1) {
    const own = logs.filter((log) => levelOf(log) === level && !isCovered(log, logs));
    if (own.length < MERGED_AT_ONCE) continue;
    let group: Manifest[] = [];
    for (const log of own.slice(0, MERGED_AT_ONCE)) {
      const longer = [...group, log];
      const isFitting = longer.reduce((bytes, one) => bytes + contentOf(one), 0) <= MERGED_BYTES_MAX && joined(longer).every(({ parts }) => goOn(parts));
      if (!isFitting && group.length > 1) return group;
      group = isFitting ? longer : [log];
    }
    if (group.length > 1) return group;
  }
  return undefined;
}

/** Whether one of a higher level has all of it. That it is of the same time says nothing: a wall clock that was set back goes there again. */
export const isCovered = (log: Manifest, logs: readonly Manifest[]): boolean => logs.some((other) => levelOf(other) > levelOf(log) && other.startedAtMs <= log.startedAtMs && other.finishedAtMs >= log.finishedAtMs && hasAll(other, log));

function hasAll(whole: Manifest, log: Manifest): boolean {
  const parts = new Map(whole.keyspaces.flatMap(({ id, ranges }) => ranges.map((range) => [keyOf(id, range.partition), range] as const)));
  const isIn = (id: string, { partition, generation, after, upTo }: ArchivedRange): boolean => {
    const part = parts.get(keyOf(id, partition));
    return part !== undefined && part.generation.id === generation.id && part.after!.seq <= after!.seq && part.upTo.seq >= upTo.seq;
  };
  const barriers = new Set(whole.barriers.map(({ id }) => id));
  return log.barriers.every(({ id }) => barriers.has(id)) && log.keyspaces.every(({ id, ranges }) => ranges.every((range) => isIn(id, range)));
}

const contentOf = ({ keyspaces }: Manifest): number => keyspaces.reduce((sum, { ranges }) => sum + ranges.reduce((bytes, range) => bytes + range.contentBytes, 0), 0);

export async function mergeLogs(repository: Repository, { logs }: KnownLogs, { duty, chunks, key }: { readonly duty: Duty; readonly chunks: ChunkSettings; readonly key: ArchiveKey | undefined }): Promise<void> {
  const covered = logs.filter((log) => isCovered(log, logs)).map(({ id }) => id);
  for (let from = 0; from < covered.length; from += REMOVED_AT_ONCE) await removeUnneeded(repository, covered.slice(from, from + REMOVED_AT_ONCE), () => duty.nextSession());
  const group = mergeable(logs);
  if (group === undefined) return;
  const [first] = group;
  const startedAtMs = Math.min(...group.map((log) => log.startedAtMs));
  const finishedAtMs = Math.max(...group.map((log) => log.finishedAtMs));
  const id = `log-${levelOf(first!) + 1}-${startedAtMs}-${duty.lock.fencingToken}-${finishedAtMs}`;
  if (await repository.hasArchive(id)) return;
  const session = await beginSession(duty, repository, { purpose: 'WRITE', archive: id, uses: group.map((log) => log.id), owner: 'archives of log that become one' });
  try {
    const cache = new ChunkCache({ bytesMax: CACHE_BYTES, read: async (chunk) => (await repository.readChunk(chunk)).plain });
    const name = { id, clusterId: first!.clusterId, session: session.id, startedAtMs, finishedAtMs, barriers: group.flatMap(({ barriers }) => barriers) };
    const manifest = await writeSegment(rangesOf(group, cache), name, { codec: repository.codec, chunks, put: (chunk) => session.putChunk(chunk), signal: duty.signal });
    await session.publish(manifest, key);
  } finally {
    await session.leave();
  }
  await removeUnneeded(repository, group.map((log) => log.id), () => duty.nextSession());
}

export interface KeptLogs {
  /** Names removals. */
  readonly by: () => SessionId;
  /** Wall clock. */
  readonly nowMs: number;
  readonly keepMs: number;
}

/**
 * Those that ended more than `keepMs` ago, and those that no cut leads to. Ages are counted from the newest log where the wall clock is
 * ahead of it, by the time of the partitions: a clock that was set forward makes nothing old. Where clocks differ the later one counts.
 */
export async function removeOldLogs(repository: Repository, { logs, oldestCutMs }: KnownLogs, { by, nowMs, keepMs }: KeptLogs): Promise<void> {
  const keptSinceMs = Math.min(nowMs, Math.max(...logs.map(lastMsOf))) - keepMs;
  const sinceMs = Number.isFinite(oldestCutMs) ? Math.max(keptSinceMs, oldestCutMs - CLOCK_SLACK_MS) : keptSinceMs;
  const old = logs.filter((log) => Math.max(log.finishedAtMs, lastMsOf(log)) < sinceMs).map(({ id }) => id);
  for (let from = 0; from < old.length; from += REMOVED_AT_ONCE) await removeUnneeded(repository, old.slice(from, from + REMOVED_AT_ONCE), by);
}

/** The latest time of its partitions. */
const lastMsOf = ({ keyspaces }: Manifest): number => keyspaces.reduce((last, { ranges }) => ranges.reduce((latest, { lastMs }) => Math.max(latest, lastMs), last), 0);

/** What a restore reads at this moment goes another time. */
async function removeUnneeded(repository: Repository, archives: readonly string[], by: () => SessionId): Promise<void> {
  try {
    await removeArchives(repository, archives, by());
  } catch (error) {
    if (!isAtollError(error) || error.reason !== 'ARCHIVE_IN_USE') throw error;
  }
}

/** The log of each partition. */
function joined(group: readonly Manifest[]): readonly { readonly keyspace: Omit<ArchivedKeyspace, 'ranges'>; readonly parts: readonly ArchivedRange[] }[] {
  const byPartition = new Map<string, { keyspace: ArchivedKeyspace; parts: ArchivedRange[] }>();
  for (const { keyspaces } of group) {
    for (const keyspace of keyspaces) {
      for (const range of keyspace.ranges) {
        const key = keyOf(keyspace.id, range.partition);
        const known = byPartition.get(key) ?? { keyspace, parts: [] };
        byPartition.set(key, known);
        known.parts.push(range);
      }
    }
  }
  return [...byPartition.values()].map(({ keyspace: { name, id, partitionCount, settings }, parts }) => ({ keyspace: { name, id, partitionCount, settings }, parts }));
}

/** Whether each of them goes on from the one before: behind a gap another range would have to begin. */
const goOn = (parts: readonly ArchivedRange[]): boolean => parts.every((part, index) => index === 0 || (part.generation.id === parts[index - 1]!.generation.id && part.after!.seq === parts[index - 1]!.upTo.seq));

function rangesOf(group: readonly Manifest[], cache: ChunkCache): readonly SegmentRange[] {
  return joined(group).map(({ keyspace, parts }): SegmentRange => {
    const [first] = parts;
    const last = parts.at(-1)!;
    return {
      keyspace,
      partition: first!.partition,
      generation: first!.generation,
      after: first!.after!,
      upTo: last.upTo,
      firstMs: first!.firstMs,
      lastMs: last.lastMs,
      barriers: parts.flatMap(({ barriers }) => barriers),
      runs: (async function* read(): AsyncIterable<Buffer> {
        for (const { chunks } of parts) for (const chunk of chunks) yield await cache.take(chunk);
      })(),
    };
  });
}

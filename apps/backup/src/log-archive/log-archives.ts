// What the repository has of logs already: where to go on, and from where on a restore to a moment finds log without a gap.
import type { ArchivePosition, ArchivedRange, Manifest } from '@atoll/core-archive';
import { parseSession, type Repository } from '@atoll/platform-repository';
import { readManifests } from '../repository/manifest-reader.ts';
import type { UnreadableManifests } from '../repository/unreadable-manifests.ts';
import { keyOf, type LogPlace } from './log-range.ts';

/** The newest cut of a partition that there is. */
export interface CutPlace {
  readonly generation: LogPlace['generation'];
  readonly position: ArchivePosition;
  /** The partition's time there. */
  readonly timeMs: number;
  /** Wall clock of the cut. */
  readonly atMs: number;
}

export interface KnownLogs {
  /** By `keyOf`. */
  readonly places: ReadonlyMap<string, LogPlace>;
  readonly cuts: ReadonlyMap<string, CutPlace>;
  /** Archives of log, in the order in which they were written. */
  readonly logs: readonly Manifest[];
  /** Wall clock of the oldest cut; Infinity: there is none. */
  readonly oldestCutMs: number;
}

/**
 * `clusterId`: archives of others are left aside. Where a manifest cannot be read, every cut is taken for the oldest. `known`: as of
 * readManifests. `unreadable` takes note of what cannot be read. @throws REPOSITORY_*
 */
export async function readLogs(repository: Repository, clusterId: string, known?: Map<string, Manifest>, unreadable?: Pick<UnreadableManifests, 'note'>): Promise<KnownLogs> {
  const { manifests, unreadable: found } = await readManifests(repository, known, withoutChunks);
  unreadable?.note(found);
  const logs = knownLogs(manifests.filter((manifest) => manifest.clusterId === clusterId));
  return found.length === 0 ? logs : { ...logs, oldestCutMs: 0 };
}

/** Of cuts the positions are enough, and chunks are the most of them. */
const withoutChunks = (manifest: Manifest): Manifest =>
  manifest.kind === 'LOG' ? manifest : { ...manifest, keyspaces: manifest.keyspaces.map((keyspace) => ({ ...keyspace, ranges: keyspace.ranges.map((range) => ({ ...range, chunks: [] })) })) };

export function knownLogs(manifests: readonly Manifest[]): KnownLogs {
  const logs = manifests.filter(({ kind }) => kind === 'LOG').sort(inOrderOfWriting);
  const places = new Map<string, LogPlace>();
  for (const [key, parts] of partsOf(logs)) {
    for (const { generation, after, upTo, lastMs } of parts) {
      const known = places.get(key);
      // Archives of log overlap where some were made one and are still there.
      const isFurther = known === undefined || generation.counter > known.generation.counter || (generation.id === known.generation.id && upTo.seq > known.position.seq);
      if (!isFurther) continue;
      const goesOn = known !== undefined && known.generation.id === generation.id && after!.seq <= known.position.seq;
      places.set(key, { generation, position: upTo, timeMs: lastMs, since: goesOn ? known.since : after! });
    }
  }
  const cuts = new Map<string, CutPlace>();
  let oldestCutMs = Number.POSITIVE_INFINITY;
  for (const { kind, barriers, keyspaces } of manifests) {
    if (kind === 'LOG') continue;
    const { atMs } = barriers[0]!;
    oldestCutMs = Math.min(oldestCutMs, atMs);
    for (const { id, ranges } of keyspaces) for (const { partition, generation, upTo, lastMs } of ranges) if (atMs > (cuts.get(keyOf(id, partition))?.atMs ?? 0)) cuts.set(keyOf(id, partition), { generation, position: upTo, timeMs: lastMs, atMs });
  }
  return { places, cuts, logs, oldestCutMs };
}

/** What archives of log have of each partition, by `keyOf`, in the order of the log itself. */
function partsOf(logs: readonly Manifest[]): ReadonlyMap<string, readonly ArchivedRange[]> {
  const parts = new Map<string, ArchivedRange[]>();
  for (const { keyspaces } of logs) {
    for (const { id, ranges } of keyspaces) {
      for (const range of ranges) {
        const key = keyOf(id, range.partition);
        const known = parts.get(key);
        if (known === undefined) parts.set(key, [range]);
        else known.push(range);
      }
    }
  }
  for (const own of parts.values()) own.sort((a, b) => a.generation.counter - b.generation.counter || a.after!.seq - b.after!.seq);
  return parts;
}

/** By fencing token and number of their sessions: the wall clock of a service may be set back, and another service has another one. */
function inOrderOfWriting(a: Manifest, b: Manifest): number {
  const [first, second] = [parseSession(a.session), parseSession(b.session)];
  if (first === undefined || second === undefined) return a.startedAtMs - b.startedAtMs;
  return first.fencingToken - second.fencingToken || first.number - second.number;
}

/** Where log is read from that goes on from a cut. */
export const placeOf = ({ generation, position, timeMs }: CutPlace): LogPlace => ({ generation, position, timeMs, since: position });

/** Whether a restore can go on from the cut with the log. */
export const goesOnFrom = (place: LogPlace, cut: CutPlace | undefined): boolean => cut !== undefined && cut.generation.id === place.generation.id && place.since.seq <= cut.position.seq;

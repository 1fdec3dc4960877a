// What the repository has of logs already: where to go on, and from where on a restore to a moment finds log without a gap.
import type { ArchivePosition, Manifest } from '@atoll/core-archive';
import type { Repository } from '@atoll/platform-repository';
import { readManifests } from '../repository/manifest-reader.ts';
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
  /** Archives of log, in time order. */
  readonly logs: readonly Manifest[];
  /** Wall clock of the oldest cut; Infinity: there is none. */
  readonly oldestCutMs: number;
}

/**
 * `clusterId`: archives of others are left aside. Where a manifest cannot be read, every cut is taken for the oldest. `known`: as of
 * readManifests. @throws REPOSITORY_*
 */
export async function readLogs(repository: Repository, clusterId: string, known?: Map<string, Manifest>): Promise<KnownLogs> {
  const { manifests, isWhole } = await readManifests(repository, known, withoutChunks);
  const logs = knownLogs(manifests.filter((manifest) => manifest.clusterId === clusterId));
  return isWhole ? logs : { ...logs, oldestCutMs: 0 };
}

/** Of cuts the positions are enough, and chunks are the most of them. */
const withoutChunks = (manifest: Manifest): Manifest =>
  manifest.kind === 'LOG' ? manifest : { ...manifest, keyspaces: manifest.keyspaces.map((keyspace) => ({ ...keyspace, ranges: keyspace.ranges.map((range) => ({ ...range, chunks: [] })) })) };

export function knownLogs(manifests: readonly Manifest[]): KnownLogs {
  const logs = manifests.filter(({ kind }) => kind === 'LOG').sort((a, b) => a.startedAtMs - b.startedAtMs || a.finishedAtMs - b.finishedAtMs);
  const places = new Map<string, LogPlace>();
  for (const { keyspaces } of logs) {
    for (const { id, ranges } of keyspaces) {
      for (const { partition, generation, after, upTo, lastMs } of ranges) {
        const known = places.get(keyOf(id, partition));
        // Archives of log overlap where some were made one and are still there.
        const isFurther = known === undefined || generation.counter > known.generation.counter || (generation.id === known.generation.id && upTo.seq > known.position.seq);
        if (!isFurther) continue;
        const goesOn = known !== undefined && known.generation.id === generation.id && after!.seq <= known.position.seq;
        places.set(keyOf(id, partition), { generation, position: upTo, timeMs: lastMs, since: goesOn ? known.since : after! });
      }
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

/** Where log is read from that goes on from a cut. */
export const placeOf = ({ generation, position, timeMs }: CutPlace): LogPlace => ({ generation, position, timeMs, since: position });

/** Whether a restore can go on from the cut with the log. */
export const goesOnFrom = (place: LogPlace, cut: CutPlace | undefined): boolean => cut !== undefined && cut.generation.id === place.generation.id && place.since.seq <= cut.position.seq;

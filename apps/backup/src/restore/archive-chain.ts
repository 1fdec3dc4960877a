// Which archives lead to the moment that is wanted.
import { checkKey, planRestore, type ArchivedKeyspace, type Manifest, type RestorePlan } from '@atoll/core-archive';
import { AtollError } from '@atoll/core-errors';
import type { Repository } from '@atoll/platform-repository';
import { newestCut, readManifests } from '../repository/manifest-reader.ts';
import { unreadableText, type UnreadableManifests } from '../repository/unreadable-manifests.ts';

export interface ArchiveAsk {
  /** Empty: the newest one whose cut is not behind `atMs`. */
  readonly archive: string;
  /** Undefined: the cut. */
  readonly atMs?: number | undefined;
  readonly exact: boolean;
}

export interface ArchiveChain {
  readonly archive: string;
  /** All that may be of use. */
  readonly manifests: readonly Manifest[];
}

/**
 * The archive with all that it goes on from; with a moment, every log as well, as far as they can be read.
 * @throws ARCHIVE_NOT_FOUND, ARCHIVE_DAMAGED, ARCHIVE_TOO_NEW, ARCHIVE_KEY_WRONG, REPOSITORY_*
 */
export async function readChain(repository: Repository, { archive, atMs }: ArchiveAsk, unreadable?: Pick<UnreadableManifests, 'note'>): Promise<ArchiveChain> {
  if (atMs !== undefined) {
    const { manifests, unreadable: found } = await readManifests(repository);
    unreadable?.note(found);
    if (archive !== '') return { archive, manifests };
    const newest = newestCut(manifests, (_, cutMs) => cutMs <= atMs);
    if (newest === undefined) throw new AtollError('ARCHIVE_NOT_FOUND', `there is no archive whose cut is at or before ${new Date(atMs).toISOString()}${unreadableText(found)}`);
    return { archive: newest.id, manifests };
  }
  const manifests: Manifest[] = [];
  for (let id: string | undefined = archive; id !== undefined && !manifests.some((one) => one.id === id); id = manifests.at(-1)!.parent) manifests.push(await repository.readManifest(id));
  return { archive, manifests };
}

/** What is wanted of one keyspace. @throws as planRestore, ARCHIVE_KEY_WRONG */
export function planOf(repository: Repository, { archive, manifests }: ArchiveChain, { atMs, exact }: ArchiveAsk, keyspace: string, targetPartitions = 1): RestorePlan {
  const moment = atMs === undefined ? undefined : { atMs, exact };
  const plan = planRestore({ manifests, archive, keyspace, targetPartitions, moment });
  for (const manifest of manifests) if (plan.archives.includes(manifest.id)) checkKey(manifest, repository.keys);
  return plan;
}

export function keyspacesOf({ archive, manifests }: ArchiveChain): readonly ArchivedKeyspace[] {
  return manifests.find(({ id }) => id === archive)?.keyspaces ?? [];
}

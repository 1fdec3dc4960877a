import type { Manifest } from '@atoll/core-archive';
import { isAtollError } from '@atoll/core-errors';
import type { Repository } from '@atoll/platform-repository';
import type { UnreadableManifest } from './unreadable-manifests.ts';

/** Manifests as far as they can be read: one that is damaged must not keep the others from being of use. */
export interface ReadManifests {
  readonly manifests: readonly Manifest[];
  /** The others. */
  readonly unreadable: readonly UnreadableManifest[];
}

/** When it was cut, ms since the epoch. Of what is no LOG. */
const cutMsOf = ({ barriers }: Manifest): number => barriers[0]!.atMs;

/** The archive with the newest cut, of those that `isFit`; logs have none. */
export function newestCut(manifests: readonly Manifest[], isFit: (manifest: Manifest, cutMs: number) => boolean = () => true): Manifest | undefined {
  let newest: Manifest | undefined;
  for (const manifest of manifests) {
    if (manifest.kind === 'LOG' || !isFit(manifest, cutMsOf(manifest))) continue;
    if (newest === undefined || cutMsOf(manifest) > cutMsOf(newest)) newest = manifest;
  }
  return newest;
}

/** Manifests do not change: `known` has those that were read before, by their places, as `toKept` made them. @throws REPOSITORY_* */
export async function readManifests(repository: Repository, known = new Map<string, Manifest>(), toKept = (manifest: Manifest): Manifest => manifest): Promise<ReadManifests> {
  const listed = await repository.listManifests();
  const unreadable: UnreadableManifest[] = [];
  for (const stored of listed) {
    if (known.has(stored.key)) continue;
    try {
      const manifest = await repository.readListed(stored);
      if (manifest !== undefined) known.set(stored.key, toKept(manifest));
    } catch (error) {
      if (!isAtollError(error) || !error.reason.startsWith('ARCHIVE_')) throw error;
      unreadable.push({ archive: stored.archive, problem: error.message });
    }
  }
  const present = new Set(listed.map(({ key }) => key));
  for (const key of known.keys()) if (!present.has(key)) known.delete(key);
  return { manifests: [...known.values()], unreadable };
}

import type { Manifest } from '@atoll/core-archive';
import { isAtollError } from '@atoll/core-errors';
import type { Repository } from '@atoll/platform-repository';

/** Manifests as far as they can be read: one that is damaged must not keep the others from being of use. */
export interface ReadManifests {
  readonly manifests: readonly Manifest[];
  /** All of them. */
  readonly isWhole: boolean;
}

/** Manifests do not change: `known` has those that were read before, by their places, as `toKept` made them. @throws REPOSITORY_* */
export async function readManifests(repository: Repository, known = new Map<string, Manifest>(), toKept = (manifest: Manifest): Manifest => manifest): Promise<ReadManifests> {
  const listed = await repository.listManifests();
  let isWhole = true;
  for (const stored of listed) {
    if (known.has(stored.key)) continue;
    try {
      const manifest = await repository.readListed(stored);
      if (manifest !== undefined) known.set(stored.key, toKept(manifest));
    } catch (error) {
      if (!isAtollError(error) || !error.reason.startsWith('ARCHIVE_')) throw error;
      isWhole = false;
    }
  }
  const present = new Set(listed.map(({ key }) => key));
  for (const key of known.keys()) if (!present.has(key)) known.delete(key);
  return { manifests: [...known.values()], isWhole };
}

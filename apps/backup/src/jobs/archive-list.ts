import { chainOf, type Manifest } from '@atoll/core-archive';
import { isAtollError } from '@atoll/core-errors';
import type { ArchiveInfo } from '@atoll/contracts/atoll/v1/backup';
import type { RepositoryAccess } from '../repository/repository-access.ts';
import type { UnreadableManifest } from '../repository/unreadable-manifests.ts';
import { toArchiveInfo, toUnreadableArchive } from './job-messages.ts';

/** Descriptions that are kept: manifests do not change. */
const KEPT_MAX = 1000;

/** Which archives there are, without reading their manifests again and again. */
export class ArchiveList {
  readonly #access: RepositoryAccess;
  readonly #known = new Map<string, ArchiveInfo>();

  constructor(access: RepositoryAccess) {
    this.#access = access;
  }

  /** Newest cut first; one that cannot be read says why. @throws REPOSITORY_* */
  async list(): Promise<readonly ArchiveInfo[]> {
    const repository = await this.#access.open();
    const archives: ArchiveInfo[] = [];
    const unreadable: UnreadableManifest[] = [];
    for (const stored of await repository.listManifests()) {
      let info = this.#known.get(stored.key);
      if (info === undefined) {
        try {
          const manifest = await repository.readListed(stored);
          if (manifest === undefined) continue;
          info = toArchiveInfo(manifest);
          if (this.#known.size >= KEPT_MAX) this.#known.delete(this.#known.keys().next().value!);
          this.#known.set(stored.key, info);
        } catch (error) {
          if (!isAtollError(error) || error.reason.startsWith('REPOSITORY_')) throw error;
          unreadable.push({ archive: stored.archive, problem: error.message });
          info = toUnreadableArchive(stored.archive, error.message);
        }
      }
      archives.push(info);
    }
    this.#access.unreadable.note(unreadable);
    return archives.sort((a, b) => b.cutAtMs - a.cutAtMs || (a.id < b.id ? 1 : -1));
  }

  /** @throws ARCHIVE_NOT_FOUND (also of one that it goes on from), ARCHIVE_DAMAGED, ARCHIVE_TOO_NEW, REPOSITORY_* */
  async get(archive: string): Promise<{ readonly archive: ArchiveInfo; readonly chain: string[] }> {
    const repository = await this.#access.open();
    const byId = new Map<string, Manifest>();
    for (let id: string | undefined = archive; id !== undefined && !byId.has(id); id = byId.get(id)!.parent) byId.set(id, await repository.readManifest(id));
    const manifest = byId.get(archive)!;
    return { archive: toArchiveInfo(manifest), chain: manifest.kind === 'LOG' ? [archive] : chainOf(byId, archive).map(({ id }) => id) };
  }
}

import type { Manifest } from '@atoll/core-archive';
import { AtollError, isAtollError } from '@atoll/core-errors';
import type { Repository } from '../repository.ts';
import { REVOKED, archivePrefix, doomedKey, doomedPrefix } from '../repository-layout.ts';
import { encodeJson } from '../repository-json.ts';
import { formatSession, type SessionId } from './session-id.ts';
import { listSessions } from './session.ts';

/**
 * Removes archives; their chunks go with the next collection. All of them or, where one is needed, none: by an archive that goes on
 * from it and stays, or by a session. Doom is told before sessions are looked at: see Session.begin. What a removal that died had
 * doomed cannot be used any more: its removal is asked for again.
 * @throws ARCHIVE_IN_USE that names who needs it, ARCHIVE_DAMAGED, REPOSITORY_*
 */
export async function removeArchives(repository: Repository, archives: readonly string[], by: SessionId): Promise<void> {
  const { store } = repository;
  const session = formatSession(by);
  const going = new Set(archives);
  for (const archive of going) await store.put(doomedKey(archive, session), encodeJson({}));
  let parents: Map<string, string | undefined>;
  try {
    parents = await checkNotNeeded(repository, going);
  } catch (error) {
    for (const archive of going) await store.delete(doomedKey(archive, session));
    throw error;
  }
  // Children first: what a crash leaves behind is a chain without its end, not one without its beginning.
  for (const archive of childrenFirst(going, parents)) {
    const keys: string[] = [];
    // What stands in the place of manifests of revoked sessions stays: these must not publish later either.
    for await (const { key, bytes } of store.list(archivePrefix(archive))) if (bytes !== REVOKED.length) keys.push(key);
    // Of removals that died as well: the archive is gone, and its id does not come again.
    for await (const { key } of store.list(doomedPrefix(archive))) keys.push(key);
    for (const key of keys) await store.delete(key);
  }
}

/** Sessions first: one that has ended by then has published what it will, and that is seen below. */
async function checkNotNeeded(repository: Repository, going: ReadonlySet<string>): Promise<Map<string, string | undefined>> {
  for (const { session, archive: own, uses, owner } of await listSessions(repository)) {
    const needed = [own ?? '', ...uses].find((archive) => going.has(archive));
    if (needed !== undefined) throw inUse(needed, `${owner} (session ${session}) needs it`);
  }
  const parents = new Map<string, string | undefined>();
  for (const stored of await repository.listManifests()) {
    let manifest: Manifest | undefined;
    try {
      manifest = await repository.readListed(stored);
    } catch (error) {
      // What cannot be read can be removed. While it stays, it may go on from any other one.
      if (going.has(stored.archive) && isAtollError(error) && error.reason.startsWith('ARCHIVE_')) continue;
      throw error;
    }
    if (manifest === undefined) continue;
    parents.set(manifest.id, manifest.parent);
    if (manifest.parent !== undefined && going.has(manifest.parent) && !going.has(manifest.id)) throw inUse(manifest.parent, `${manifest.id} goes on from it`);
  }
  return parents;
}

function childrenFirst(going: ReadonlySet<string>, parents: ReadonlyMap<string, string | undefined>): string[] {
  const depth = (archive: string): number => {
    let at = parents.get(archive);
    let steps = 0;
    for (; at !== undefined && steps <= parents.size; at = parents.get(at)) steps += 1;
    return steps;
  };
  return [...going].sort((a, b) => depth(b) - depth(a));
}

const inUse = (archive: string, why: string): AtollError => new AtollError('ARCHIVE_IN_USE', `${archive}: ${why}`, { metadata: { archive } });

// Where things lie in a repository. docs/design/archive-format.md describes each.

export const REPOSITORY_KEY = 'repository.json';
export const CHUNKS_PREFIX = 'chunks/';
export const ARCHIVES_PREFIX = 'archives/';
export const SESSIONS_PREFIX = 'sessions/';
export const DOOMED_PREFIX = 'doomed/';
export const FOSSILS_PREFIX = 'fossils/';
export const COLLECTIONS_PREFIX = 'collections/';
export const SUSPECTS_PREFIX = 'suspects/';
/** How far jobs are that go on after a crash; of no meaning to anybody else. */
export const PROGRESS_PREFIX = 'progress/';

/** In the place of the manifest of a session that was revoked: whoever comes first to that place decides. */
export const REVOKED = Buffer.from('REVOKED\n');

const MANIFEST = '.manifest';
const RECORD = '.json';

/** 256 directories, so that none of them has too many files. */
export const chunkKey = (id: string): string => `${CHUNKS_PREFIX}${id.slice(0, 2)}/${id}`;
export const archivePrefix = (archive: string): string => `${ARCHIVES_PREFIX}${archive}/`;
export const manifestKey = (archive: string, session: string): string => `${archivePrefix(archive)}${session}${MANIFEST}`;
export const sessionKey = (session: string): string => `${SESSIONS_PREFIX}${session}${RECORD}`;
export const doomedPrefix = (archive: string): string => `${DOOMED_PREFIX}${archive}/`;
export const doomedKey = (archive: string, session: string): string => `${doomedPrefix(archive)}${session}${RECORD}`;
export const fossilsPrefix = (collection: string): string => `${FOSSILS_PREFIX}${collection}/`;
export const fossilKey = (collection: string, chunk: string): string => `${fossilsPrefix(collection)}${chunk}`;
export const suspectKey = (chunk: string): string => `${SUSPECTS_PREFIX}${chunk}${RECORD}`;
export const progressPrefix = (job: string): string => `${PROGRESS_PREFIX}${job}/`;
export const progressKey = (job: string, part: string): string => `${progressPrefix(job)}${part}${RECORD}`;
export const collectionKey = (collection: string): string => `${COLLECTIONS_PREFIX}${collection}${RECORD}`;

/** What stands between prefix and ending; undefined for another key. */
function between(key: string, prefix: string, ending: string): string | undefined {
  return key.startsWith(prefix) && key.endsWith(ending) ? key.slice(prefix.length, key.length - ending.length) : undefined;
}

export const sessionOfKey = (key: string): string | undefined => between(key, SESSIONS_PREFIX, RECORD);
export const collectionOfKey = (key: string): string | undefined => between(key, COLLECTIONS_PREFIX, RECORD);
export const suspectOfKey = (key: string): string | undefined => between(key, SUSPECTS_PREFIX, RECORD);
export const lastPart = (key: string): string => key.slice(key.lastIndexOf('/') + 1);

export function parseManifestKey(key: string): { readonly archive: string; readonly session: string } | undefined {
  const [archive, session, ...more] = between(key, ARCHIVES_PREFIX, MANIFEST)?.split('/') ?? [];
  return archive === undefined || session === undefined || more.length > 0 ? undefined : { archive, session };
}

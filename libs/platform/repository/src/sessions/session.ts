// Who works on a repository at this moment, told by an object in it: garbage collection and removal of archives look at these,
// and at nothing that one process knows of another. docs/design/archive-format.md has the argument.
import { encodeManifest, type ArchiveKey, type ChunkRef, type EncodedChunk, type Manifest } from '@atoll/core-archive';
import { AtollError } from '@atoll/core-errors';
import { z } from 'zod';
import type { ObjectStore } from '../object-store.ts';
import type { Repository } from '../repository.ts';
import { REVOKED, SESSIONS_PREFIX, SUSPECTS_PREFIX, chunkKey, doomedPrefix, manifestKey, sessionKey, sessionOfKey, suspectKey, suspectOfKey } from '../repository-layout.ts';
import { encodeJson, parseRecord } from '../repository-json.ts';
import { formatSession, parseSession, type SessionId } from './session-id.ts';

/** WRITE: adds chunks and an archive. READ: needs archives to stay. */
export type SessionPurpose = 'WRITE' | 'READ';

export interface SessionRecord {
  readonly purpose: SessionPurpose;
  /** WRITE: the archive that it will publish. */
  readonly archive?: string | undefined;
  /** Archives that must stay: what is read, or gone on from. */
  readonly uses: readonly string[];
  /** For people. */
  readonly owner: string;
  readonly startedAtMs: number;
}

export interface OpenSession extends SessionRecord {
  readonly session: string;
}

export interface SessionOptions extends SessionRecord {
  readonly repository: Repository;
  readonly id: SessionId;
  /** Whether the lock certainly stands at this moment: nothing is published once it may be gone. */
  readonly isHeld: () => boolean;
}

const recordSchema: z.ZodType<SessionRecord> = z.object({ purpose: z.enum(['WRITE', 'READ']), archive: z.string().optional(), uses: z.array(z.string()), owner: z.string(), startedAtMs: z.number() });

export class Session {
  readonly id: string;
  readonly #repository: Repository;
  readonly #store: ObjectStore;
  readonly #isHeld: () => boolean;
  readonly #archive: string | undefined;
  /** Chunks that were found damaged. */
  readonly #suspects = new Set<string>();

  private constructor(id: string, { repository, isHeld, archive }: SessionOptions) {
    this.id = id;
    this.#repository = repository;
    this.#store = repository.store;
    this.#isHeld = isHeld;
    this.#archive = archive;
  }

  /**
   * First the session is told, then is looked whether what it uses is there and stays. So a removal sees the session, or the
   * session sees the removal.
   * @throws ARCHIVE_NOT_FOUND, ARCHIVE_IN_USE (it is being removed), REPOSITORY_*
   */
  static async begin(options: SessionOptions): Promise<Session> {
    const { repository, purpose, archive: own, uses, owner, startedAtMs } = options;
    const session = new Session(formatSession(options.id), options);
    const isOwn = await repository.store.create(sessionKey(session.id), encodeJson({ purpose, archive: own, uses, owner, startedAtMs }));
    if (!isOwn) throw new AtollError('INTERNAL', `the session ${session.id} is taken`);
    try {
      for (const archive of uses) {
        if (await isAny(repository.store, doomedPrefix(archive))) throw new AtollError('ARCHIVE_IN_USE', `${archive} is being removed`, { metadata: { archive } });
        if (!(await repository.hasArchive(archive))) throw new AtollError('ARCHIVE_NOT_FOUND', `${repository.store.location}: there is no archive ${archive}`, { metadata: { archive } });
      }
      for await (const { key } of repository.store.list(SUSPECTS_PREFIX)) session.#suspects.add(suspectOfKey(key) ?? '');
    } catch (error) {
      await session.leave();
      throw error;
    }
    return session;
  }

  /** Whether it had to be written; else it was there. @throws REPOSITORY_* */
  async putChunk({ id, bytes }: EncodedChunk): Promise<boolean> {
    const present = await this.#store.stat(chunkKey(id));
    const isSuspect = this.#suspects.has(id);
    if (present?.bytes === bytes.length && !isSuspect) return false;
    await this.#store.put(chunkKey(id), bytes);
    if (isSuspect) await this.#store.delete(suspectKey(id));
    this.#suspects.delete(id);
    return true;
  }

  /**
   * Whether a chunk that an earlier session put is there, so that this one may rely on it as if it had put it: it looks for it, as
   * `putChunk` does, after it was told.
   */
  async hasChunk({ id, storedBytes }: Pick<ChunkRef, 'id' | 'storedBytes'>): Promise<boolean> {
    return !this.#suspects.has(id) && (await this.#store.stat(chunkKey(id)))?.bytes === storedBytes;
  }

  /**
   * The archive is there from now on, or not at all: its manifest is created in one step, and where the session was revoked before
   * something stands in its place. Every chunk that it names was put by `putChunk` of this session, or found by its `hasChunk`.
   * @throws STALE_FENCING_TOKEN: somebody else holds the lock, or may; REPOSITORY_*, REPOSITORY_MISMATCH where it was taken away among them
   */
  async publish(manifest: Manifest, key?: ArchiveKey): Promise<void> {
    if (manifest.session !== this.id || manifest.id !== this.#archive) throw new RangeError(`the session ${this.id} publishes ${this.#archive}, not ${manifest.id} of ${manifest.session}`);
    const bytes = encodeManifest(this.#repository.codec, manifest, key);
    // Chunks that it put are where the repository was.
    await this.#repository.confirm();
    if (!this.#isHeld()) throw stale(this.id, 'its lock is gone');
    if (!(await this.#store.create(manifestKey(manifest.id, this.id), bytes))) throw stale(this.id, 'another one took its place');
  }

  /** Nothing of it is needed any more. What was put and not published is left to the collection. */
  async end(): Promise<void> {
    await this.#store.delete(sessionKey(this.id));
  }

  /** As `end`, whatever becomes of it: one that stays, since the storage is away, keeps collections waiting until the lock changes hands. */
  async leave(): Promise<void> {
    await this.end().catch(() => undefined);
  }
}

export async function listSessions({ store }: Repository): Promise<readonly OpenSession[]> {
  const sessions: OpenSession[] = [];
  for await (const { key } of store.list(SESSIONS_PREFIX)) {
    const session = sessionOfKey(key);
    const bytes = session === undefined ? undefined : await store.get(key);
    if (session !== undefined && bytes !== undefined) sessions.push({ session, ...parseRecord(key, bytes, recordSchema) });
  }
  return sessions;
}

/**
 * Ends a session of somebody else, for good: it has published by now, or never will. Resolves to whether it has. Only then is the
 * session taken away, so that who no longer sees it knows all that it published.
 */
export async function revokeSession({ store }: Repository, { session, archive }: Pick<OpenSession, 'session' | 'archive'>): Promise<boolean> {
  const isRevoked = archive === undefined || (await store.create(manifestKey(archive, session), REVOKED));
  await store.delete(sessionKey(session));
  return !isRevoked;
}

/** What a new holder of the lock does first: sessions of earlier holders in its cluster are those of dead or stopped processes. */
export async function revokeEarlierSessions(repository: Repository, { clusterId, fencingToken }: Omit<SessionId, 'number'>): Promise<readonly string[]> {
  const revoked: string[] = [];
  for (const open of await listSessions(repository)) {
    const id = parseSession(open.session);
    if (id === undefined || id.clusterId !== clusterId || id.fencingToken >= fencingToken) continue;
    await revokeSession(repository, open);
    revoked.push(open.session);
  }
  return revoked;
}

export async function isAny(store: ObjectStore, prefix: string): Promise<boolean> {
  for await (const _ of store.list(prefix)) return true;
  return false;
}

const stale = (session: string, why: string): AtollError => new AtollError('STALE_FENCING_TOKEN', `session ${session}: ${why}`, { metadata: { session } });

import { archiveDamaged, checkChunk, decodeChunk, decodeManifest, type ArchiveCodec, type ArchiveKey, type ChunkRef, type DecodedChunk, type Manifest } from '@atoll/core-archive';
import { AtollError } from '@atoll/core-errors';
import { z } from 'zod';
import type { ObjectStore } from './object-store.ts';
import {
  ARCHIVES_PREFIX,
  COLLECTIONS_PREFIX,
  REPOSITORY_KEY,
  REVOKED,
  archivePrefix,
  chunkKey,
  collectionOfKey,
  fossilKey,
  parseManifestKey,
  suspectKey,
} from './repository-layout.ts';
import { encodeJson, parseRecord } from './repository-json.ts';

const REPOSITORY_MAJOR = 1;
const identitySchema = z.object({ format: z.literal('atoll-repository'), major: z.number().int(), id: z.string().min(1), createdAtMs: z.number() });

export interface RepositoryOptions {
  readonly store: ObjectStore;
  readonly codec: ArchiveCodec;
  /** To read with. */
  readonly keys?: readonly ArchiveKey[];
  /** For messages: the setting that names its place. */
  readonly setting?: string;
}

/** A manifest in force. */
export interface StoredManifest {
  readonly archive: string;
  readonly session: string;
  readonly key: string;
  readonly bytes: number;
}

/** Archives as they are read. Writing goes through a WriteSession, removal through `removeArchives` and `collectGarbage`. */
export class Repository {
  readonly id: string;
  readonly store: ObjectStore;
  readonly codec: ArchiveCodec;
  readonly keys: readonly ArchiveKey[];

  readonly #setting: string | undefined;

  private constructor(id: string, { store, codec, keys = [], setting }: RepositoryOptions) {
    this.#setting = setting;
    this.id = id;
    this.store = store;
    this.codec = codec;
    this.keys = keys;
  }

  /**
   * Makes it where there is none: `newId` is random then, and `nowMs` the wall clock.
   * @throws ARCHIVE_TOO_NEW, ARCHIVE_DAMAGED, REPOSITORY_*
   */
  static async open(options: RepositoryOptions, { newId, nowMs }: { readonly newId: string; readonly nowMs: number }): Promise<Repository> {
    const { store } = options;
    let bytes = await store.get(REPOSITORY_KEY);
    if (bytes === undefined) {
      await store.create(REPOSITORY_KEY, encodeJson({ format: 'atoll-repository', major: REPOSITORY_MAJOR, id: newId, createdAtMs: nowMs }));
      bytes = await store.get(REPOSITORY_KEY);
    }
    if (bytes === undefined) throw archiveDamaged(REPOSITORY_KEY, 'MISSING', 'was removed while it was made');
    const { id, major } = parseRecord(REPOSITORY_KEY, bytes, identitySchema);
    if (major > REPOSITORY_MAJOR) throw new AtollError('ARCHIVE_TOO_NEW', `${store.location}: is of format ${major}, this one reads up to ${REPOSITORY_MAJOR}`);
    return new Repository(id, options);
  }

  /** The id of the one that is there; undefined: there is none. @throws ARCHIVE_DAMAGED, REPOSITORY_* */
  static async identify(store: Pick<ObjectStore, 'get'>): Promise<string | undefined> {
    const bytes = await store.get(REPOSITORY_KEY);
    return bytes === undefined ? undefined : parseRecord(REPOSITORY_KEY, bytes, identitySchema).id;
  }

  /**
   * Whether it is still there. Asked before anything is taken for missing, and before an archive is published: where its storage is
   * not mounted any more, the directory looks like an empty repository.
   * @throws REPOSITORY_MISMATCH, ARCHIVE_DAMAGED, REPOSITORY_*
   */
  async confirm(): Promise<void> {
    const id = await Repository.identify(this.store);
    if (id === this.id) return;
    const { location } = this.store;
    const found = id === undefined ? 'there is no repository any more' : `another repository, ${id}, is there now`;
    throw new AtollError('REPOSITORY_MISMATCH', `${location}: ${found}, and ${this.id} was in use${this.#setting === undefined ? '' : ` (${this.#setting})`}: is its storage mounted?`, { metadata: { location, repository: id ?? '', known: this.id } });
  }

  /** Those in force. */
  async listManifests(): Promise<readonly StoredManifest[]> {
    const found = await this.#manifestsBelow(ARCHIVES_PREFIX);
    await this.confirm();
    return found;
  }

  /** Whether there is a manifest of the archive in force. */
  async hasArchive(archive: string): Promise<boolean> {
    const isThere = (await this.#manifestsBelow(archivePrefix(archive))).length > 0;
    if (!isThere) await this.confirm();
    return isThere;
  }

  /** @throws ARCHIVE_NOT_FOUND, ARCHIVE_DAMAGED, ARCHIVE_TOO_NEW */
  async readManifest(archive: string): Promise<Manifest> {
    for (const stored of await this.#manifestsBelow(archivePrefix(archive))) {
      const manifest = await this.readListed(stored);
      if (manifest !== undefined) return manifest;
    }
    await this.confirm();
    throw new AtollError('ARCHIVE_NOT_FOUND', `${this.store.location}: there is no manifest of the archive ${archive}`, { metadata: { archive } });
  }

  /** One that was listed; undefined when it was removed meanwhile. @throws as readManifest */
  async readListed(stored: StoredManifest): Promise<Manifest | undefined> {
    const bytes = await this.store.get(stored.key);
    return bytes === undefined || bytes.equals(REVOKED) ? undefined : this.decodeManifest(stored, bytes);
  }

  /** All of its content, also where a manifest means a slice. @throws ARCHIVE_DAMAGED (MISSING and others) that names the chunk, ARCHIVE_KEY_WRONG, ARCHIVE_TOO_NEW */
  async readChunk({ id, storedBytes }: Pick<ChunkRef, 'id' | 'storedBytes'>): Promise<DecodedChunk> {
    return decodeChunk(this.codec, id, await this.#fetch(id), this.keys, storedBytes);
  }

  /** Reads it back without its content, which takes no key. @throws ARCHIVE_DAMAGED, ARCHIVE_TOO_NEW */
  async checkChunk({ id, storedBytes }: Pick<ChunkRef, 'id' | 'storedBytes'>): Promise<void> {
    checkChunk(this.codec, id, await this.#fetch(id), storedBytes);
  }

  /** A chunk that a collection set aside is still one: it is put back when it turns out to be needed. */
  async #fetch(id: string): Promise<Buffer> {
    const bytes = await this.store.get(chunkKey(id));
    if (bytes !== undefined) return bytes;
    for await (const { key } of this.store.list(COLLECTIONS_PREFIX)) {
      const collection = collectionOfKey(key);
      const fossil = collection === undefined ? undefined : await this.store.get(fossilKey(collection, id));
      if (fossil !== undefined) return fossil;
    }
    // It may have been put back in between.
    const again = await this.store.get(chunkKey(id));
    if (again !== undefined) return again;
    await this.confirm();
    throw archiveDamaged(`chunk ${id}`, 'MISSING', `is not in ${this.store.location}`);
  }

  /** A chunk that was found damaged: the next session that has its content writes it again instead of taking it for there. */
  async markSuspect(id: string): Promise<void> {
    await this.store.put(suspectKey(id), encodeJson({}));
  }

  /** Of all archives in force, one after the other. @throws as readManifest, also of one that nobody asked for */
  async *manifests(): AsyncIterable<Manifest> {
    for (const stored of await this.listManifests()) {
      const manifest = await this.readListed(stored);
      if (manifest !== undefined) yield manifest;
    }
  }

  private decodeManifest({ archive, session }: { readonly archive: string; readonly session: string }, bytes: Buffer): Manifest {
    const manifest = decodeManifest(this.codec, archive, bytes, this.keys);
    if (manifest.session !== session) throw archiveDamaged(`manifest ${archive}`, 'MALFORMED', `is of the session ${manifest.session} and lies at that of ${session}`);
    return manifest;
  }

  async #manifestsBelow(prefix: string): Promise<StoredManifest[]> {
    const found: StoredManifest[] = [];
    for await (const { key, bytes } of this.store.list(prefix)) {
      const parsed = parseManifestKey(key);
      if (parsed !== undefined && bytes !== REVOKED.length) found.push({ ...parsed, key, bytes });
    }
    return found;
  }
}

import { randomUUID } from 'node:crypto';
import type { ArchiveKey } from '@atoll/core-archive';
import { AtollError } from '@atoll/core-errors';
import { Repository, formatRepositoryLocation, nodeArchiveCodec, openObjectStore, peekObjectStore, type ObjectStore, type RepositoryLocation, type S3Options } from '@atoll/platform-repository';
import type { KnownRepository, RepositoryRecord } from './known-repository.ts';
import { UnreadableManifests, type UnreadableManifest } from './unreadable-manifests.ts';

/** Names the place in messages. */
const SETTING = 'BACKUP_REPOSITORY';

export interface RepositoryAccessOptions {
  readonly location: RepositoryLocation;
  readonly s3?: Omit<S3Options, 'bucket' | 'prefix'>;
  /** The first one writes, all of them read. */
  readonly keys: readonly ArchiveKey[];
  /** Of the cluster: no other one is opened. */
  readonly known: KnownRepository;
  /** Told of each manifest that turns out to be damaged. */
  readonly onUnreadable?: (found: UnreadableManifest) => void;
}

/** What is where the repository should be. */
export interface RepositoryLook {
  /** Undefined: there is none. */
  readonly id: string | undefined;
  /** That the cluster uses; undefined: it has used none. */
  readonly knownId: string | undefined;
  /** Why it is not opened: another one is known. Undefined: it is. */
  readonly refusal: AtollError | undefined;
}

/** The repository of this service, opened when it is first needed and again after a failure. */
export class RepositoryAccess {
  readonly unreadable: UnreadableManifests;
  readonly #options: RepositoryAccessOptions;
  #peek: Promise<Pick<ObjectStore, 'get' | 'close'>> | undefined;
  #store: Promise<ObjectStore> | undefined;
  #opened: Repository | undefined;
  /** As etcd last said: what was known once is known while etcd is away. */
  #lastKnown: RepositoryRecord | undefined;

  constructor(options: RepositoryAccessOptions) {
    this.#options = options;
    this.unreadable = new UnreadableManifests(options.onUnreadable);
  }

  /** Of what is written from now on; undefined: it is not encrypted. */
  get key(): ArchiveKey | undefined {
    return this.#options.keys[0];
  }

  /**
   * The one that the cluster uses; where it has used none yet, the one that is there, or a new one. It is looked at again each time:
   * storage goes away while a process runs, too.
   * @throws REPOSITORY_MISMATCH, REPOSITORY_*, METADATA_*, ARCHIVE_TOO_NEW, ARCHIVE_DAMAGED
   */
  async open(): Promise<Repository> {
    const { id, refusal } = await this.look();
    if (refusal !== undefined) throw refusal;
    if (this.#opened === undefined || this.#opened.id !== id) this.#opened = await this.#open();
    return this.#opened;
  }

  /** Looks, and makes nothing. @throws REPOSITORY_*, METADATA_*, ARCHIVE_DAMAGED */
  async look(): Promise<RepositoryLook> {
    const known = await this.#known();
    const id = await this.#identify();
    if (known === undefined || known.id === id) return { id, knownId: known?.id, refusal: undefined };
    const location = formatRepositoryLocation(this.#options.location);
    const was = known.location === location ? '' : `, last at ${known.location}`;
    const found = id === undefined ? 'there is no repository' : `the repository ${id} is there`;
    const command = `atoll backup repository ${id === undefined ? '--accept-new' : `--accept ${id}`}`;
    const text = `${SETTING}: ${location}: ${found}, and this cluster uses ${known.id}${was}: have its storage mounted, or the setting mended; "${command}" goes on with ${id === undefined ? 'a new, empty one' : 'that one'}`;
    return { id, knownId: known.id, refusal: new AtollError('REPOSITORY_MISMATCH', text, { metadata: { setting: SETTING, repository: id ?? '', known: known.id } }) };
  }

  /** It is going to be used: from now on the cluster knows it, and opens no other one. @throws REPOSITORY_MISMATCH, METADATA_* */
  async use({ id }: Repository): Promise<void> {
    const { known, location } = this.#options;
    if ((await known.note({ id, location: formatRepositoryLocation(location) })).id === id) return;
    const { refusal } = await this.look();
    throw refusal ?? new AtollError('REPOSITORY_MISMATCH', `${SETTING}: another repository than ${id} was accepted meanwhile`, { metadata: { setting: SETTING } });
  }

  /**
   * From now on the cluster uses the one that is there, whatever it used before; resolves to its id. `expected`: which one that has to
   * be; undefined: none, and a new one is made.
   * @throws REPOSITORY_MISMATCH where another one is there; as open
   */
  async accept(expected: string | undefined): Promise<string> {
    const { known, location } = this.#options;
    const at = formatRepositoryLocation(location);
    const found = await this.#identify();
    if (found !== expected) {
      const text = `id: ${expected === undefined ? 'a new repository was to be made' : `${expected} was to be accepted`}, and at ${at} is ${found === undefined ? 'none' : `the repository ${found}`}`;
      throw new AtollError('REPOSITORY_MISMATCH', text, { metadata: { field: 'id', repository: found ?? '' } });
    }
    const { id } = await this.#open();
    await known.replace({ id, location: at });
    return id;
  }

  async close(): Promise<void> {
    for (const store of [this.#peek, this.#store]) await (await store?.catch(() => undefined))?.close();
  }

  async #known(): Promise<RepositoryRecord | undefined> {
    try {
      this.#lastKnown = await this.#options.known.get();
    } catch (error) {
      if (this.#lastKnown === undefined) throw error;
    }
    return this.#lastKnown;
  }

  async #identify(): Promise<string | undefined> {
    const { location, s3 } = this.#options;
    this.#peek ??= peekObjectStore(location, s3);
    return Repository.identify(await this.#peek);
  }

  async #open(): Promise<Repository> {
    const { location, s3, keys } = this.#options;
    this.#store ??= openObjectStore(location, s3).catch((error: unknown) => {
      this.#store = undefined;
      throw error;
    });
    return Repository.open({ store: await this.#store, codec: nodeArchiveCodec, keys, setting: SETTING }, { newId: randomUUID(), nowMs: Date.now() });
  }
}

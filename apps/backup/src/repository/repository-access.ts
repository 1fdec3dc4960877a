import { randomUUID } from 'node:crypto';
import type { ArchiveKey } from '@atoll/core-archive';
import { Repository, nodeArchiveCodec, openObjectStore, type ObjectStore, type RepositoryLocation, type S3Options } from '@atoll/platform-repository';
import { UnreadableManifests, type UnreadableManifest } from './unreadable-manifests.ts';

export interface RepositoryAccessOptions {
  readonly location: RepositoryLocation;
  readonly s3?: Omit<S3Options, 'bucket' | 'prefix'>;
  /** The first one writes, all of them read. */
  readonly keys: readonly ArchiveKey[];
  /** Told of each manifest that turns out to be damaged. */
  readonly onUnreadable?: (found: UnreadableManifest) => void;
}

/** The repository of this service, opened when it is first needed and again after a failure. */
export class RepositoryAccess {
  readonly unreadable: UnreadableManifests;
  readonly #options: RepositoryAccessOptions;
  #opened: Promise<Repository> | undefined;
  #store: ObjectStore | undefined;

  constructor(options: RepositoryAccessOptions) {
    this.#options = options;
    this.unreadable = new UnreadableManifests(options.onUnreadable);
  }

  /** Of what is written from now on; undefined: it is not encrypted. */
  get key(): ArchiveKey | undefined {
    return this.#options.keys[0];
  }

  /** @throws REPOSITORY_*, ARCHIVE_TOO_NEW, ARCHIVE_DAMAGED */
  open(): Promise<Repository> {
    this.#opened ??= this.#open().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }

  async close(): Promise<void> {
    await this.#opened?.catch(() => undefined);
    await this.#store?.close();
  }

  async #open(): Promise<Repository> {
    const { location, s3, keys } = this.#options;
    this.#store ??= await openObjectStore(location, s3);
    return Repository.open({ store: this.#store, codec: nodeArchiveCodec, keys }, { newId: randomUUID(), nowMs: Date.now() });
  }
}

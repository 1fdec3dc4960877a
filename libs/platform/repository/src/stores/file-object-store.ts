// Objects as files of a directory. A file is written under another name, flushed, then given its own, and the directory is
// flushed: without the last a new file may be gone after a power failure although its content was flushed.
import { randomBytes } from 'node:crypto';
import { constants, link, mkdir, open, readdir, rename, rm, rmdir, stat, statfs } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { AtollError } from '@atoll/core-errors';
import { ARCHIVES_PREFIX, DOOMED_PREFIX } from '../repository-layout.ts';
import { OBJECT_BYTES_MAX, checkObjectKey, type ObjectStore, type StoredObject } from '../object-store.ts';

/** Files that are being written. No key begins with a dot. */
const TEMPORARY = '.writing';
/** Their directories go with the last object. */
const EMPTIED: ReadonlySet<string> = new Set([ARCHIVES_PREFIX, DOOMED_PREFIX]);
/** What a write fails with for lack of room: of the file system, of a quota, of a limit of the process (`ulimit -f`). */
const FULL: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
const PLACE_ATTEMPTS_MAX = 5;
/** Left by a process that died; one that still writes has long been done. */
const TEMPORARY_AGE_MS_MAX = 24 * 3600 * 1000;

/** What the store does to the disk, for tests that have it fail. */
export interface FileOperations {
  /** `directory` is undefined for a file. Throws what the operation is to fail with. */
  before(operation: 'write' | 'sync' | 'sync-directory' | 'rename' | 'link' | 'read' | 'remove', path: string): void | Promise<void>;
}

const NOTHING_BEFORE: FileOperations = { before: () => undefined };

/**
 * Makes the directory where it is missing, and removes what writers that died left behind.
 * @throws REPOSITORY_READ_ONLY, REPOSITORY_UNAVAILABLE
 */
export async function openFileObjectStore(directory: string, operations = NOTHING_BEFORE): Promise<ObjectStore> {
  const root = resolve(directory);
  const store = new FileObjectStore(root, operations);
  await store.prepare();
  return store;
}

/** To look into it alone: nothing is made, so that a place that is not mounted stays as it is. */
export const peekFileObjectStore = (directory: string): Pick<ObjectStore, 'get' | 'location' | 'close'> => new FileObjectStore(resolve(directory), NOTHING_BEFORE);

class FileObjectStore implements ObjectStore {
  readonly location: string;
  readonly #root: string;
  readonly #temporary: string;
  readonly #operations: FileOperations;
  /** Directories that are known to be there, durably. */
  readonly #directories = new Set<string>();

  constructor(root: string, operations: FileOperations) {
    this.#root = root;
    this.#temporary = join(root, TEMPORARY);
    this.#operations = operations;
    this.location = pathToFileURL(root).href;
  }

  async prepare(): Promise<void> {
    await this.#writing('open', 0, async () => {
      await this.#makeDirectory(this.#temporary);
      for (const name of await readdir(this.#temporary)) {
        const path = join(this.#temporary, name);
        const { mtimeMs } = await stat(path);
        if (Date.now() - mtimeMs > TEMPORARY_AGE_MS_MAX) await rm(path, { force: true });
      }
    });
  }

  async put(key: string, body: Uint8Array): Promise<void> {
    checkObjectKey(key);
    await this.#writing(key, body.length, () =>
      this.#withTemporary(body, async (temporary) => {
        const path = this.#pathOf(key);
        await this.#placing(path, async () => {
          await this.#operations.before('rename', path);
          await rename(temporary, path);
          await this.#syncDirectory(dirname(path));
        });
      }),
    );
  }

  async create(key: string, body: Uint8Array): Promise<boolean> {
    checkObjectKey(key);
    return this.#writing(key, body.length, () =>
      this.#withTemporary(body, async (temporary) => {
        const path = this.#pathOf(key);
        return this.#placing(path, async () => {
          try {
            await this.#operations.before('link', path);
            await link(temporary, path);
          } catch (error) {
            if (codeOf(error) !== 'EEXIST') throw error;
            return (await this.get(key))?.equals(body) ?? false;
          }
          await this.#syncDirectory(dirname(path));
          return true;
        });
      }),
    );
  }

  async get(key: string, bytesMax = OBJECT_BYTES_MAX): Promise<Buffer | undefined> {
    checkObjectKey(key);
    return this.#reading(key, async () => {
      await this.#operations.before('read', this.#pathOf(key));
      const file = await open(this.#pathOf(key), 'r');
      try {
        const { size } = await file.stat();
        if (size > bytesMax) throw new RangeError(`${this.location}: ${key} has ${size} bytes, at most ${bytesMax} are read`);
        return await file.readFile();
      } finally {
        await file.close();
      }
    });
  }

  async stat(key: string): Promise<StoredObject | undefined> {
    checkObjectKey(key);
    return this.#reading(key, async () => {
      const { size, mtimeMs } = await stat(this.#pathOf(key));
      return { key, bytes: size, modifiedMs: mtimeMs };
    });
  }

  async *list(prefix: string): AsyncIterable<StoredObject> {
    yield* this.#walk('', prefix);
  }

  async delete(key: string): Promise<void> {
    checkObjectKey(key);
    await this.#writing(key, 0, async () => {
      const path = this.#pathOf(key);
      await this.#operations.before('remove', path);
      try {
        await rm(path);
      } catch (error) {
        if (isAbsent(error)) return;
        throw error;
      }
      await this.#syncDirectory(dirname(path));
      await this.#removeEmpty(dirname(path));
    });
  }

  /** A second name of the same file, so that it costs nothing. */
  async copy(from: string, to: string): Promise<boolean> {
    checkObjectKey(from);
    checkObjectKey(to);
    return this.#writing(to, 0, async () => {
      const target = this.#pathOf(to);
      await this.#makeDirectory(dirname(target));
      const temporary = this.#temporaryName();
      try {
        await this.#operations.before('link', target);
        await link(this.#pathOf(from), temporary);
        await rename(temporary, target);
      } catch (error) {
        if (isAbsent(error)) return false;
        throw error;
      } finally {
        await rm(temporary, { force: true }); // POSIX: two names of one file are left by a rename as they were.
      }
      await this.#syncDirectory(dirname(target));
      return true;
    });
  }

  async close(): Promise<void> {
    // Nothing is held between calls.
  }

  #pathOf(key: string): string {
    return join(this.#root, ...key.split('/'));
  }

  #temporaryName(): string {
    return join(this.#temporary, randomBytes(12).toString('hex'));
  }

  async *#walk(directory: string, prefix: string): AsyncGenerator<StoredObject> {
    const below = directory === '' ? '' : `${directory}/`;
    const found = await this.#reading(directory, () => readdir(join(this.#root, directory), { withFileTypes: true }));
    // It was made before anything else: somebody took it away, or something else lies in its place. Its archives are not gone.
    if (found === undefined && directory === '') throw new AtollError('REPOSITORY_UNAVAILABLE', `${this.location}: is no directory any more`, { metadata: { location: this.location } });
    const entries = found ?? [];
    // As keys are ordered: `a-b` before `a/b`.
    const names = entries.filter(({ name }) => !name.startsWith('.')).map((entry) => ({ entry, name: below + entry.name + (entry.isDirectory() ? '/' : '') }));
    names.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const { entry, name } of names) {
      if (entry.isDirectory()) {
        if (name.startsWith(prefix) || prefix.startsWith(name)) yield* this.#walk(name.slice(0, -1), prefix);
      } else if (name.startsWith(prefix)) {
        const object = await this.stat(name);
        if (object !== undefined) yield object;
      }
    }
  }

  async #withTemporary<T>(body: Uint8Array, then: (temporary: string) => Promise<T>): Promise<T> {
    const temporary = this.#temporaryName();
    try {
      await this.#operations.before('write', temporary);
      const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o640);
      try {
        await file.writeFile(body);
        await this.#operations.before('sync', temporary);
        await file.datasync();
      } finally {
        await file.close();
      }
      return await then(temporary);
    } finally {
      await rm(temporary, { force: true }).catch(() => undefined); // Storage that cannot be written cannot be cleaned either.
    }
  }

  /** Whoever removes the last object of a directory may remove the directory before one is placed there. */
  async #placing<T>(path: string, place: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      await this.#makeDirectory(dirname(path));
      try {
        return await place();
      } catch (error) {
        if (codeOf(error) !== 'ENOENT' || attempt === PLACE_ATTEMPTS_MAX) throw error;
        this.#directories.delete(dirname(path));
      }
    }
  }

  /** Archives of log come and go by the thousand, each with directories of its own. */
  async #removeEmpty(path: string): Promise<void> {
    const [top, name, ...deeper] = relative(this.#root, path).split(sep);
    if (name === undefined || deeper.length > 0 || !EMPTIED.has(`${top}/`)) return;
    this.#directories.delete(path);
    await rmdir(path).catch(() => undefined);
  }

  /** Each directory on the way is flushed into the one above it. */
  async #makeDirectory(path: string): Promise<void> {
    if (this.#directories.has(path)) return;
    const first = await mkdir(path, { recursive: true });
    if (first !== undefined) for (let at = path; at.length >= first.length; at = dirname(at)) await this.#syncDirectory(dirname(at));
    this.#directories.add(path);
  }

  async #syncDirectory(path: string): Promise<void> {
    await this.#operations.before('sync-directory', path);
    const handle = await open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  async #reading<T>(key: string, read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw this.#convert(key, error, 'REPOSITORY_UNAVAILABLE');
    }
  }

  /** `bytes`: of the object. */
  async #writing<T>(key: string, bytes: number, write: () => Promise<T>): Promise<T> {
    try {
      return await write();
    } catch (error) {
      // Somebody removed a directory that was there: it is made again by the next call.
      if (isAbsent(error)) this.#directories.clear();
      if (FULL.has(codeOf(error) ?? '')) throw await this.#full(key, bytes, error);
      throw this.#convert(key, error, 'REPOSITORY_READ_ONLY');
    }
  }

  /** With the numbers: how much was wanted, and how much there is. A quota is smaller than what the file system has free. */
  async #full(key: string, bytes: number, error: unknown): Promise<AtollError> {
    const code = codeOf(error)!;
    const space = await statfs(this.#root).catch(() => undefined);
    const room = space === undefined ? '' : `; ${space.bavail * space.bsize} of ${space.blocks * space.bsize} bytes are free`;
    const text = `${this.location}: ${key}: ${code === 'EFBIG' ? 'no file may be so large' : 'no space is left'} (${code}) for ${bytes} bytes${room}`;
    return new AtollError('REPOSITORY_FULL', text, { metadata: { location: this.location, code }, cause: error });
  }

  #convert(key: string, error: unknown, denied: 'REPOSITORY_READ_ONLY' | 'REPOSITORY_UNAVAILABLE'): unknown {
    const code = codeOf(error);
    if (code === undefined || error instanceof AtollError) return error;
    const say = (what: string): string => `${this.location}: ${key}: ${what} (${code})`;
    const metadata = { location: this.location, code };
    switch (code) {
      case 'EROFS':
        return new AtollError('REPOSITORY_READ_ONLY', say('the file system is read-only'), { metadata, cause: error });
      case 'EACCES':
      case 'EPERM':
        return new AtollError(denied, say('permission is denied'), { metadata, cause: error });
      default:
        return new AtollError('REPOSITORY_UNAVAILABLE', say((error as Error).message), { metadata, cause: error });
    }
  }
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | undefined)?.code;
const isAbsent = (error: unknown): boolean => codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR';

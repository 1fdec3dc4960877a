import type { WalFile, WalFileSystem } from '../file-system.ts';
import { nodeFileSystem } from '../file-system.ts';

export type FileOperation = 'write' | 'datasync' | 'rename' | 'remove' | 'syncDirectory';

/** The machine's file system, with a count of what was done and a hook in front of each change. */
export class ObservedFileSystem implements WalFileSystem {
  readonly counts: Record<FileOperation, number> = { write: 0, datasync: 0, rename: 0, remove: 0, syncDirectory: 0 };
  readonly #isSynced: boolean;

  /** Without `isSynced` nothing really waits for the device: for tests that open a log a thousand times. */
  constructor(options: { isSynced: boolean } = { isSynced: true }) {
    this.#isSynced = options.isSynced;
  }

  /** Runs before the operation; what it throws is the operation's failure. */
  before: (operation: FileOperation, path: string) => void | Promise<void> = () => undefined;

  async open(path: string, mode: 'create' | 'read' | 'update'): Promise<WalFile> {
    const file = await nodeFileSystem.open(path, mode);
    return {
      write: async (parts, position) => {
        await this.#note('write', path);
        await file.write(parts, position);
      },
      datasync: async () => {
        await this.#note('datasync', path);
        if (this.#isSynced) await file.datasync();
      },
      read: (target, position) => file.read(target, position),
      sizeBytes: () => file.sizeBytes(),
      truncate: (bytes) => file.truncate(bytes),
      close: () => file.close(),
    };
  }

  list(directory: string): Promise<string[]> {
    return nodeFileSystem.list(directory);
  }

  makeDirectory(path: string): Promise<void> {
    return nodeFileSystem.makeDirectory(path);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#note('rename', to);
    await nodeFileSystem.rename(from, to);
  }

  async remove(path: string): Promise<void> {
    await this.#note('remove', path);
    await nodeFileSystem.remove(path);
  }

  async syncDirectory(path: string): Promise<void> {
    await this.#note('syncDirectory', path);
    if (this.#isSynced) await nodeFileSystem.syncDirectory(path);
  }

  async #note(operation: FileOperation, path: string): Promise<void> {
    this.counts[operation] += 1;
    await this.before(operation, path);
  }
}

// What a node with a disk saw of etcd, so that it knows after a restart when etcd went back meanwhile (R13). Without it
// a keyspace that such an etcd does not show would look deleted, and its data would go.
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { SeenMark } from '@atoll/core-membership';
import type { Logger } from '@atoll/platform-telemetry';

const NAME = 'metadata-mark.json';
/** A change of configuration is on disk so much later at most: a crash in between forgets that it was seen. */
const SAVE_MS = 200;

export class MarkFile {
  /** As it was when this process began; undefined: nothing was kept. */
  readonly seen: SeenMark | undefined;
  readonly #directory: string;
  readonly #logger: Logger;
  #saved: string;
  #read: () => SeenMark | undefined;
  #saving: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  private constructor(directory: string, seen: SeenMark | undefined, logger: Logger) {
    this.#directory = directory;
    this.#logger = logger;
    this.seen = seen;
    this.#saved = JSON.stringify(seen);
    this.#read = () => seen;
  }

  /** An absent file is no mark; so is one that cannot be read, which is told. */
  static async open(directory: string, logger: Logger): Promise<MarkFile> {
    return new MarkFile(directory, await readMark(join(directory, NAME), logger), logger);
  }

  /** Saves from now on what `read` tells, when it tells something. */
  follow(read: () => SeenMark | undefined): void {
    this.#read = read;
    this.#timer = setInterval(() => this.#saveChanged(), SAVE_MS).unref();
  }

  /** Saves what is new. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#saveChanged();
    await this.#saving;
  }

  #saveChanged(): void {
    const seen = this.#read();
    const text = JSON.stringify(seen);
    if (seen === undefined || text === this.#saved) return;
    this.#saved = text;
    this.#saving = this.#saving.then(() => this.#save(text)).catch((err: unknown) => this.#logger.warn({ err }, 'what was seen of etcd could not be saved'));
  }

  async #save(text: string): Promise<void> {
    await mkdir(this.#directory, { recursive: true });
    const path = join(this.#directory, NAME);
    const file = await open(`${path}.new`, 'w');
    try {
      await file.writeFile(`${text}\n`);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(`${path}.new`, path);
  }
}

async function readMark(path: string, logger: Logger): Promise<SeenMark | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { clusterId, mark } = JSON.parse(text) as Partial<SeenMark>;
    if (typeof clusterId === 'string' && isRevision(mark?.revision) && isRevision(mark.changeRevision)) return { clusterId, mark };
  } catch {
    // As below.
  }
  logger.warn({ file: path }, 'what was seen of etcd in the last life of this node cannot be read, and counts as nothing');
  return undefined;
}

const isRevision = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

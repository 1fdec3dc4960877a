// How far a backup is, beside its chunks in the repository: records in etcd are too small for names of chunks. What is not there, or
// cannot be read, costs work that is done again, and nothing else.
import type { Repository, Session } from '@atoll/platform-repository';
import { progressKey, progressPrefix } from '@atoll/platform-repository';
import type { RangeJob } from './archived-range.ts';
import type { SavedRange } from './range-writer.ts';

const partOf = ({ keyspace, partition }: RangeJob): string => `${keyspace.id}-${partition}`;

export class SavedProgress {
  readonly #repository: Repository;
  readonly #job: string;

  constructor(repository: Repository, job: string) {
    this.#repository = repository;
    this.#job = job;
  }

  async save(range: RangeJob, saved: SavedRange): Promise<void> {
    await this.#repository.store.put(progressKey(this.#job, partOf(range)), Buffer.from(JSON.stringify(saved)));
  }

  /** Undefined: the range has to begin anew. Every chunk that it names is there, and stays for this session. */
  async load(range: RangeJob, session: Session): Promise<SavedRange | undefined> {
    const bytes = await this.#repository.store.get(progressKey(this.#job, partOf(range)));
    if (bytes === undefined) return undefined;
    const saved = parse(bytes);
    for (const chunk of saved === undefined ? [] : [...saved.rows, ...saved.log]) if (!(await session.hasChunk(chunk))) return undefined;
    return saved;
  }

  async remove(): Promise<void> {
    const keys: string[] = [];
    for await (const { key } of this.#repository.store.list(progressPrefix(this.#job))) keys.push(key);
    for (const key of keys) await this.#repository.store.delete(key);
  }
}

/** Written by this service, of this version or another one: what does not look like it is left aside. */
function parse(bytes: Buffer): SavedRange | undefined {
  try {
    const saved = JSON.parse(bytes.toString()) as SavedRange;
    const isWhole = saved.place?.generation !== undefined && saved.place.position !== undefined && Array.isArray(saved.rows) && Array.isArray(saved.log);
    return isWhole ? saved : undefined;
  } catch {
    return undefined;
  }
}

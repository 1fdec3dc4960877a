// Which repository the backups of the cluster are in, in etcd (`jobs/backup-repository`). An empty directory where storage is to be
// mounted looks like a repository without archives: who knows the id of the right one is not taken in.
import { AtollError } from '@atoll/core-errors';
import { BACKUP_REPOSITORY_KEY, encodeJson, parseJson, type MetadataStore } from '@atoll/platform-etcd';
import { z } from 'zod';

const ATTEMPTS_MAX = 8;

/** As the record has it. */
export interface RepositoryRecord {
  /** As `repository.json` has it. */
  readonly id: string;
  /** Where it was when it was noted; for people. */
  readonly location: string;
}

const schema: z.ZodType<RepositoryRecord> = z.object({ id: z.string().min(1), location: z.string() });

export class KnownRepository {
  readonly #store: Pick<MetadataStore, 'get' | 'transact'>;

  constructor(store: Pick<MetadataStore, 'get' | 'transact'>) {
    this.#store = store;
  }

  /** Undefined: none was used yet. @throws METADATA_* */
  async get(): Promise<RepositoryRecord | undefined> {
    return (await this.#read()).record;
  }

  /** The first one that is used stays the known one. Resolves to that, whichever it is. @throws METADATA_* */
  async note(record: RepositoryRecord): Promise<RepositoryRecord> {
    return this.#write(record, (known) => known ?? record);
  }

  /** Whatever was known before. @throws METADATA_* */
  async replace(record: RepositoryRecord): Promise<void> {
    await this.#write(record, () => record);
  }

  async #write({ id }: RepositoryRecord, choose: (known: RepositoryRecord | undefined) => RepositoryRecord): Promise<RepositoryRecord> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const { record: known, modRevision } = await this.#read();
      const chosen = choose(known);
      if (chosen === known) return chosen;
      const value = encodeJson('known repository', chosen);
      const outcome = await this.#store.transact([{ kind: 'modRevision', key: BACKUP_REPOSITORY_KEY, equals: modRevision }], [{ kind: 'put', key: BACKUP_REPOSITORY_KEY, value }]);
      if (outcome.kind === 'succeeded') return chosen;
    }
    throw new AtollError('METADATA_CONFLICT', `that the repository ${id} is used could not be noted in ${ATTEMPTS_MAX} attempts`);
  }

  /** What cannot be read as a record counts as none: the next use writes it anew. */
  async #read(): Promise<{ readonly record: RepositoryRecord | undefined; readonly modRevision: number }> {
    const stored = await this.#store.get(BACKUP_REPOSITORY_KEY);
    if (stored === undefined) return { record: undefined, modRevision: 0 };
    const parsed = parseJson(schema, stored.value);
    return { record: parsed.kind === 'parsed' ? parsed.value : undefined, modRevision: stored.modRevision };
  }
}

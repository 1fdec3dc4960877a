// Jobs in etcd. Every write compares what stood there, so of two writers one reads again and decides anew; a write whose answer was
// lost and that is carried out later is refused by whatever was written since (R7).
import { AtollError } from '@atoll/core-errors';
import { BACKUP_JOBS_PREFIX, backupJobKey, type Comparison, type MetadataStore, type Watch } from '@atoll/platform-etcd';
import { encodeJob, hasEnded, parseJob, type JobRecord } from './job-record.ts';

const ATTEMPTS_MAX = 8;
/** Ended jobs that are kept. */
const ENDED_KEPT = 100;
/** Jobs that may wait or run at a time; one more is refused as OVERLOADED (I10). */
export const ACTIVE_JOBS_MAX = 64;

export class JobStore {
  readonly #store: Pick<MetadataStore, 'get' | 'list' | 'transact' | 'watch'>;

  constructor(store: Pick<MetadataStore, 'get' | 'list' | 'transact' | 'watch'>) {
    this.#store = store;
  }

  /** Newest first. Throws METADATA_UNAVAILABLE. */
  async list(): Promise<readonly JobRecord[]> {
    const { values } = await this.#store.list(BACKUP_JOBS_PREFIX);
    const jobs = values.flatMap(({ value }) => {
      const parsed = parseJob(value);
      return parsed.kind === 'parsed' ? [parsed.value] : [];
    });
    return jobs.sort((a, b) => b.createdMs - a.createdMs || (a.id < b.id ? -1 : 1));
  }

  async get(id: string): Promise<JobRecord | undefined> {
    return (await this.#read(id))?.job;
  }

  /** Throws BACKUP_JOB_NOT_FOUND. */
  async require(id: string): Promise<JobRecord> {
    const job = await this.get(id);
    if (job === undefined) throw notFound(id);
    return job;
  }

  /**
   * Writes a job, unless its id stands for one already: then that one is the answer.
   * @throws BACKUP_JOB_CONFLICT: it is of another kind; OVERLOADED; METADATA_CONFLICT: it is not known whether it was written
   */
  async create(job: JobRecord): Promise<JobRecord> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const before = await this.get(job.id);
      if (before !== undefined && before.kind !== job.kind) throw new AtollError('BACKUP_JOB_CONFLICT', `id: ${job.id} stands for a ${before.kind}`, { metadata: { field: 'id', job: job.id } });
      if (before !== undefined) return before;
      const active = (await this.list()).filter((other) => !hasEnded(other));
      if (active.length >= ACTIVE_JOBS_MAX) throw new AtollError('OVERLOADED', `${active.length} jobs wait or run already`);
      const key = backupJobKey(job.id);
      const outcome = await this.#store.transact([{ kind: 'modRevision', key, equals: 0 }], [{ kind: 'put', key, value: encodeJob(job) }]);
      if (outcome.kind === 'succeeded') return job;
    }
    throw conflict(job.id);
  }

  /**
   * `change` answers the same object where there is nothing to do; it may be called again. `guard`: of the lock under which it is
   * written.
   * @throws BACKUP_JOB_NOT_FOUND, METADATA_CONFLICT
   */
  async update(id: string, change: (job: JobRecord) => JobRecord, guard: readonly Comparison[] = []): Promise<JobRecord> {
    return (await this.write(id, change, guard)).job;
  }

  /** As `update`. `revision`: of etcd, at which the job was last written. @throws as update */
  async write(id: string, change: (job: JobRecord) => JobRecord, guard: readonly Comparison[]): Promise<{ readonly job: JobRecord; readonly revision: number }> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const stored = await this.#read(id);
      if (stored === undefined) throw notFound(id);
      const job = change(stored.job);
      if (job === stored.job) return { job, revision: stored.modRevision };
      const key = backupJobKey(id);
      const outcome = await this.#store.transact([{ kind: 'modRevision', key, equals: stored.modRevision }, ...guard], [{ kind: 'put', key, value: encodeJob(job) }]);
      if (outcome.kind === 'succeeded') return { job, revision: outcome.revision };
    }
    throw conflict(id);
  }

  /** Forgets the oldest of those that ended. */
  async prune(guard: readonly Comparison[]): Promise<void> {
    const gone = (await this.list()).filter(hasEnded).slice(ENDED_KEPT, ENDED_KEPT + 50);
    if (gone.length > 0) await this.#store.transact(guard, gone.map(({ id }) => ({ kind: 'delete', key: backupJobKey(id) })));
  }

  /** Tells of every change, and once at the start. */
  watch(onChange: () => void): Promise<Watch> {
    return this.#store.watch(BACKUP_JOBS_PREFIX, { onSnapshot: onChange, onChanges: onChange });
  }

  async #read(id: string): Promise<{ readonly job: JobRecord; readonly modRevision: number } | undefined> {
    const stored = await this.#store.get(backupJobKey(id));
    const parsed = stored === undefined ? undefined : parseJob(stored.value);
    return parsed?.kind === 'parsed' ? { job: parsed.value, modRevision: stored!.modRevision } : undefined;
  }
}

const notFound = (id: string): AtollError => new AtollError('BACKUP_JOB_NOT_FOUND', `id: there is no job ${JSON.stringify(id.slice(0, 80))}`, { metadata: { field: 'id', job: id.slice(0, 80) } });
const conflict = (id: string): AtollError =>
  new AtollError('METADATA_CONFLICT', `backup job ${id}: refused ${ATTEMPTS_MAX} times, or it is not known whether it was written; another backup service may hold the lock`);

// Where requests meet jobs, on duty or not: they are written to etcd, and whoever is on duty does them.
import { randomBytes } from 'node:crypto';
import { AtollError, invalidArgument } from '@atoll/core-errors';
import { resolveKeyspace } from '@atoll/core-membership';
import { KEYSPACE_NAME_MAX } from '@atoll/core-runtime';
import type { ClusterView, MetadataStore } from '@atoll/platform-etcd';
import { traceparentOf, type Tracing } from '@atoll/platform-telemetry';
import type { JobRunner } from './job-runner.ts';
import { hasEnded, newJob, type JobKindName, type JobNotes, type JobRecord } from './job-record.ts';
import { JobStore } from './job-store.ts';

const ID = /^[A-Za-z0-9_-]{1,64}$/;
/** Names of keyspaces in one job: its record has to stay small. */
const KEYSPACES_MAX = 32;

/** A job as a request asks for it. */
export interface JobAsk {
  readonly kind: JobKindName;
  /** Empty: made up. */
  readonly id: string;
  readonly archive: string;
  readonly keyspaces: readonly string[];
  readonly ask: JobNotes;
}

export class JobDesk {
  readonly jobs: JobStore;
  readonly #tracing: Pick<Tracing, 'startSpan'>;
  /** Once etcd was read. */
  view: ClusterView | undefined;
  /** While this process is on duty. */
  runner: JobRunner | undefined;

  constructor({ store, tracing }: { readonly store: MetadataStore; readonly tracing: Pick<Tracing, 'startSpan'> }) {
    this.jobs = new JobStore(store);
    this.#tracing = tracing;
  }

  /**
   * Writes the job; one that stands by that id is the answer as it stands.
   * @throws INVALID_ARGUMENT that names the field; as JobStore.create
   */
  async submit({ kind, id, archive, keyspaces, ask }: JobAsk): Promise<JobRecord> {
    checkJobId(id);
    if (keyspaces.length > KEYSPACES_MAX) throw tooMany('keyspaces');
    const span = this.#tracing.startSpan('atoll.backup.job', { attributes: { 'atoll.kind': kind, 'atoll.archive': archive } });
    const named = id === '' ? `${kind.toLowerCase()}-${randomBytes(8).toString('hex')}` : id;
    span?.setAttribute('atoll.job', named);
    // The job goes on whatever becomes of this process.
    span?.end();
    return this.jobs.create(newJob({ id: named, kind, archive, keyspaces, createdMs: Date.now(), traceparent: (span && traceparentOf(span)) ?? '', ask }));
  }

  /** Throws KEYSPACE_NOT_FOUND at once for what can only fail; the job itself looks again. */
  requireKeyspaces(field: string, keyspaces: readonly string[]): void {
    const { view } = this;
    const missing = view && keyspaces.find((name) => resolveKeyspace(view.keyspaces(), name) === undefined);
    if (missing !== undefined) throw new AtollError('KEYSPACE_NOT_FOUND', `${field}: there is no keyspace ${missing}`, { metadata: { field, keyspace: missing } });
  }

  async list(): Promise<readonly JobRecord[]> {
    return (await this.jobs.list()).map((job) => this.#lively(job));
  }

  /** @throws BACKUP_JOB_NOT_FOUND, INVALID_ARGUMENT for an empty id */
  async require(id: string): Promise<JobRecord> {
    if (id === '') throw invalidArgument('id', 'is missing');
    if (!ID.test(id)) throw new AtollError('BACKUP_JOB_NOT_FOUND', `id: there is no job ${JSON.stringify(id.slice(0, 80))}`, { metadata: { field: 'id' } });
    return this.#lively(await this.jobs.require(id));
  }

  async update(id: string, change: (job: JobRecord) => JobRecord): Promise<JobRecord> {
    await this.require(id);
    return this.jobs.update(id, change);
  }

  #lively(job: JobRecord): JobRecord {
    return hasEnded(job) ? job : { ...job, ...this.runner?.live(job.id) };
  }
}

const tooMany = (field: string): Error => invalidArgument(field, `more than ${KEYSPACES_MAX} of them cannot be named; none means all`);

/** Throws INVALID_ARGUMENT that names the field. */
export function checkKeyspaceNames(field: string, keyspaces: readonly string[]): void {
  if (keyspaces.length > KEYSPACES_MAX) throw tooMany(field);
  if (keyspaces.some((name) => name === '') || new Set(keyspaces).size < keyspaces.length) throw invalidArgument(field, 'has an empty name, or one twice');
  const tooLong = keyspaces.find((name) => name.length > KEYSPACE_NAME_MAX);
  if (tooLong !== undefined) throw invalidArgument(field, `a name has at most ${KEYSPACE_NAME_MAX} characters, not ${tooLong.length}`);
}

export function checkJobId(id: string): void {
  if (id !== '' && !ID.test(id)) throw invalidArgument('id', 'must be 1 to 64 characters of [A-Za-z0-9_-]');
}

// Copies of keyspaces in etcd. Only the elected coordinator writes them: what it has read and written is what stands there, and
// after a refusal or a lost answer everything is read again (R11). A lost write that is carried out later does no harm: it
// compares what stood there before, and whatever is written next makes that another one (R7).
import { AtollError } from '@atoll/core-errors';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { hasCopyEnded, type CopyJob } from '@atoll/core-migration';
import { COPIES_PREFIX, copyKey, encodeCopyJob, encodeKeyspaceSpec, keyspaceKey, migrationKey, parseCopyJob, parseKeyspaceSpec, type Change, type Comparison, type MetadataStore } from '@atoll/platform-etcd';

const ATTEMPTS_MAX = 5;
/** Ended copies that are kept. */
const ENDED_KEPT = 50;

interface Stored {
  readonly job: CopyJob;
  readonly modRevision: number;
}

interface Pair {
  readonly source: KeyspaceSpec;
  readonly target: KeyspaceSpec;
}

interface StoredSpec {
  readonly spec: KeyspaceSpec;
  readonly modRevision: number;
}

const specKeyOf = ({ spec, modRevision }: StoredSpec): Comparison => ({ kind: 'modRevision', key: keyspaceKey(spec.name), equals: modRevision });
const putOf = (spec: KeyspaceSpec): Change => ({ kind: 'put', key: keyspaceKey(spec.name), value: encodeKeyspaceSpec(spec) });
const copyKeyOf = ({ job, modRevision }: Stored): Comparison => ({ kind: 'modRevision', key: copyKey(job.id), equals: modRevision });

export class CopyStore {
  readonly #store: Pick<MetadataStore, 'get' | 'list' | 'transact'>;
  readonly #election: Comparison;
  readonly #jobs = new Map<string, Stored>();
  #isCurrent = false;
  /** A write whose answer was lost may still be carried out: until one succeeds, what was read may change. */
  #hasLost = false;
  /** Id of a copy whose cut-over may have been done, or may yet be. */
  #unsettled: string | undefined;
  /** One writer at a time: each compares what the one before it wrote. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: { readonly store: Pick<MetadataStore, 'get' | 'list' | 'transact'>; readonly election: Comparison }) {
    this.#store = options.store;
    this.#election = options.election;
  }

  job(id: string): CopyJob | undefined {
    return this.#jobs.get(id)?.job;
  }

  /** Newest first. */
  jobs(): readonly CopyJob[] {
    return [...this.#jobs.values()].map(({ job }) => job).sort((a, b) => b.createdMs - a.createdMs || (a.id < b.id ? -1 : 1));
  }

  /** Those that have not ended. */
  active(): readonly CopyJob[] {
    return this.jobs().filter((job) => !hasCopyEnded(job));
  }

  /** Reads everything, unless what is known is current. Throws METADATA_UNAVAILABLE. */
  refresh(): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#isCurrent) await this.#read();
    });
  }

  /**
   * Writes a job and the keyspace that it makes, in one transaction. For a standby a keyspace of the target's name and id may be
   * there: it becomes the copy with what it has, and takes no writes from then on. Throws KEYSPACE_EXISTS, MIGRATION_CONFLICT when the
   * id stands for another job, METADATA_CONFLICT when it is not known that it was written.
   */
  create(job: CopyJob, target: KeyspaceSpec): Promise<void> {
    return this.#inTurn(async () => {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
        const revision = job.isStandby === true ? await this.#read() : 0;
        const present = job.isStandby === true ? await this.#spec(target.name, target.id) : undefined;
        const isFree = (key: string): Comparison => ({ kind: 'modRevision', key, equals: 0 });
        const comparisons = [isFree(copyKey(job.id)), isFree(migrationKey(job.id)), present === undefined ? isFree(keyspaceKey(target.name)) : specKeyOf(present)];
        const spec = job.isStandby === true ? resumed(present?.spec ?? target, target, revision) : target;
        const changes: Change[] = [{ kind: 'put', key: copyKey(job.id), value: encodeCopyJob(job) }, putOf(spec)];
        const isWritten = await this.#transact(comparisons, changes);
        await this.#read();
        // Also by an earlier attempt, whose answer was lost.
        if (this.job(job.id)?.targetId === target.id) return;
        if (isWritten) throw conflict(`copy ${job.id}`);
        await this.#refuse(job, target);
      }
      throw conflict(`copy ${job.id}`);
    });
  }

  /**
   * Changes a job, and with it whether its keyspace takes anything from the source, and how fast. `change` answers the same one where there is nothing to do;
   * it may be called again. Throws MIGRATION_NOT_FOUND, METADATA_CONFLICT.
   */
  update(id: string, change: (job: CopyJob) => CopyJob): Promise<CopyJob> {
    return this.#inTurn(async () => {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
        if (!this.#isCurrent) await this.#read();
        const stored = this.#jobs.get(id);
        if (stored === undefined) throw new AtollError('MIGRATION_NOT_FOUND', `id: there is no migration ${id}`, { metadata: { field: 'id', migration: id } });
        const job = change(stored.job);
        if (job === stored.job) return job;
        const paced = await this.#pacing(job);
        const isWritten = await this.#transact([copyKeyOf(stored), ...paced.comparisons], [{ kind: 'put', key: copyKey(id), value: encodeCopyJob(job) }, ...paced.changes]);
        await this.#read();
        if (isWritten) return job;
      }
      throw conflict(`copy ${id}`);
    });
  }

  /**
   * Has a copy take the place of its source, in one transaction with the job, if that is CUTTING_OVER (R37). `revision`: of
   * etcd, at a moment within this call. Answers the job as it stands then; throws when it is not known how it stands:
   * `settle` has to succeed before anything that rests on the source's leaders (R7).
   */
  cutOver(id: string, complete: (job: CopyJob) => CopyJob, specsOf: (specs: Pair, revision: number) => Pair): Promise<CopyJob> {
    return this.#inTurn(async () => {
      const revision = await this.#read();
      const stored = this.#jobs.get(id);
      if (stored?.job.state !== 'CUTTING_OVER') return stored!.job;
      const [source, target] = await Promise.all([this.#spec(stored.job.source, stored.job.sourceId), this.#spec(stored.job.target, stored.job.targetId)]);
      // Who froze the source meanwhile wants that more than its place to be taken.
      if (source === undefined || target === undefined || source.spec.freeze !== undefined) return stored.job;
      const specs = specsOf({ source: source.spec, target: target.spec }, revision);
      this.#unsettled = id;
      const isWritten = await this.#transact(
        [copyKeyOf(stored), specKeyOf(source), specKeyOf(target)],
        [{ kind: 'put', key: copyKey(id), value: encodeCopyJob(complete(stored.job)) }, putOf(specs.source), putOf(specs.target)],
      );
      if (isWritten || !this.#hasLost) this.#unsettled = undefined;
      else await this.#settle(id);
      await this.#read();
      return this.#jobs.get(id)!.job;
    });
  }

  /**
   * Has a copy take writes whose source was moved by the cluster that had it, in one transaction with the job, if that is
   * CUTTING_OVER (R37); and the name of the keyspace whose place it takes, if the job says so. Answers the job as it stands then; where it is not known whether it was written, it is to be done
   * again. Throws METADATA_UNAVAILABLE.
   */
  open(id: string, complete: (job: CopyJob) => CopyJob, specOf: (spec: KeyspaceSpec, revision: number) => KeyspaceSpec): Promise<CopyJob> {
    return this.#open(id, ({ state }) => state === 'CUTTING_OVER', complete, specOf);
  }

  /** As `open`, for a standby that is promoted without its primary: unless the job has ended, or is being cancelled. */
  promote(id: string, complete: (job: CopyJob) => CopyJob, specOf: (spec: KeyspaceSpec, revision: number) => KeyspaceSpec): Promise<CopyJob> {
    return this.#open(id, (job) => !hasCopyEnded(job) && job.state !== 'CANCELLING', complete, specOf);
  }

  #open(id: string, isDue: (job: CopyJob) => boolean, complete: (job: CopyJob) => CopyJob, specOf: (spec: KeyspaceSpec, revision: number) => KeyspaceSpec): Promise<CopyJob> {
    return this.#inTurn(async () => {
      const revision = await this.#read();
      const stored = this.#jobs.get(id);
      const target = stored && (await this.#spec(stored.job.target, stored.job.targetId));
      if (stored === undefined || !isDue(stored.job) || target === undefined) return stored!.job;
      const opened = specOf(target.spec, revision);
      const retiring = stored.job.takesPlaceOf && (await this.#spec(stored.job.takesPlaceOf.name, stored.job.takesPlaceOf.id));
      const { aliases: names = [], ...retired } = retiring?.spec ?? {};
      const comparisons = [copyKeyOf(stored), specKeyOf(target), ...(retiring === undefined ? [] : [specKeyOf(retiring)])];
      const specs = retiring === undefined ? [opened] : [{ ...opened, aliases: [retiring.spec.name, ...names] }, { ...(retired as KeyspaceSpec), movedTo: opened.name }];
      await this.#transact(comparisons, [{ kind: 'put', key: copyKey(id), value: encodeCopyJob(complete(stored.job)) }, ...specs.map(putOf)]);
      await this.#read();
      return this.#jobs.get(id)!.job;
    });
  }

  /** After a cut-over whose answer was lost: has it be done, or be refused for ever. Throws while neither is certain. */
  settle(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#unsettled !== undefined) await this.#settle(this.#unsettled);
    });
  }

  /** Writes the job as it is: what compares the revision before is refused from then on (R7). */
  async #settle(id: string): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      await this.#read();
      const stored = this.#jobs.get(id);
      const isSettled = stored?.job.state !== 'CUTTING_OVER' || (await this.#transact([copyKeyOf(stored)], [{ kind: 'put', key: copyKey(id), value: encodeCopyJob(stored.job) }]));
      if (!isSettled) continue;
      this.#unsettled = undefined;
      return;
    }
    throw conflict(`copy ${id}`);
  }

  async #spec(name: string, id: string): Promise<StoredSpec | undefined> {
    const stored = await this.#store.get(keyspaceKey(name));
    const parsed = stored === undefined ? undefined : parseKeyspaceSpec(stored.value);
    return parsed?.kind === 'parsed' && parsed.value.id === id ? { spec: parsed.value, modRevision: stored!.modRevision } : undefined;
  }

  /** Forgets the oldest of those that ended. */
  prune(): Promise<void> {
    return this.#inTurn(async () => {
      const gone = this.jobs().filter((job) => hasCopyEnded(job) && job.sourceRemains !== true && job.promotion?.isFenced !== false).slice(ENDED_KEPT);
      if (gone.length === 0) return;
      await this.#transact([], gone.map(({ id }) => ({ kind: 'delete', key: copyKey(id) })));
      await this.#read();
    });
  }

  /** Why it cannot be written, when it is not chance. */
  async #refuse(job: CopyJob, target: KeyspaceSpec): Promise<void> {
    if (this.job(job.id) !== undefined || (await this.#store.get(migrationKey(job.id))) !== undefined) {
      throw new AtollError('MIGRATION_CONFLICT', `id: ${job.id} stands for another migration`, { metadata: { field: 'id', migration: job.id } });
    }
    const stored = await this.#store.get(keyspaceKey(target.name));
    if (stored !== undefined && (job.isStandby !== true || (await this.#spec(target.name, target.id)) === undefined)) {
      throw new AtollError('KEYSPACE_EXISTS', `target.name: there is a keyspace named ${target.name} already`, { metadata: { field: 'target.name', keyspace: target.name } });
    }
  }

  async #pacing({ id, state, target, targetId, bytesPerSecond }: CopyJob): Promise<{ readonly comparisons: readonly Comparison[]; readonly changes: readonly Change[] }> {
    const stored = await this.#spec(target, targetId);
    const copyOf = stored?.spec.copyOf;
    const isPaused = state !== 'RUNNING' && state !== 'CUTTING_OVER';
    const isAsWanted = copyOf?.isPaused === isPaused && (copyOf.bytesPerSecond ?? 0) === bytesPerSecond;
    if (stored === undefined || copyOf?.job !== id || isAsWanted) return { comparisons: [], changes: [] };
    return { comparisons: [specKeyOf(stored)], changes: [putOf({ ...stored.spec, copyOf: { ...copyOf, isPaused, bytesPerSecond: bytesPerSecond || undefined } })] };
  }

  async #transact(comparisons: readonly Comparison[], changes: readonly Change[]): Promise<boolean> {
    this.#isCurrent = false;
    const outcome = await this.#store.transact([this.#election, ...comparisons], changes);
    if (outcome.kind !== 'refused') this.#hasLost = outcome.kind === 'unknown';
    return outcome.kind === 'succeeded';
  }

  /** Answers etcd's revision. */
  async #read(): Promise<number> {
    const { values, revision } = await this.#store.list(COPIES_PREFIX);
    this.#jobs.clear();
    for (const { value, modRevision } of values) {
      const parsed = parseCopyJob(value);
      if (parsed.kind === 'parsed') this.#jobs.set(parsed.value.id, { job: parsed.value, modRevision });
    }
    this.#isCurrent = !this.#hasLost;
    return revision;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

/** `run` is above every revision at which the keyspace's copies began or ended before (R37). */
const resumed = (present: KeyspaceSpec, { copyOf }: KeyspaceSpec, revision: number): KeyspaceSpec => ({ ...present, copyOf: copyOf && { ...copyOf, run: revision + 1 }, cutOver: undefined, freeze: undefined });

const conflict = (what: string): AtollError =>
  new AtollError('METADATA_CONFLICT', `${what}: refused ${ATTEMPTS_MAX} times, or it is not known whether it was written; another coordinator may have been elected`);

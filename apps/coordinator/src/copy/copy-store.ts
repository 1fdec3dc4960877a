// Copies of keyspaces in etcd: what the tasks of the core ask for, carried out there, one task at a time.
import { AtollError } from '@atoll/core-errors';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { COPY_WRITES_MAX, CopyTable, copyConflict, cutOverCopy, hasCopyEnded, refreshCopies, retiredBy, settleCopies, takePlace, updateCopy, type CopyAnswer, type CopyAsk, type CopyJob, type CopyTask, type Places, type VersionedCopy, type VersionedSpec } from '@atoll/core-migration';
import { COPIES_PREFIX, copyKey, encodeCopyJob, encodeKeyspaceSpec, keyspaceKey, migrationKey, parseCopyJob, parseKeyspaceSpec, type Change, type Comparison, type MetadataStore } from '@atoll/platform-etcd';

/** Ended copies that are kept. */
const ENDED_KEPT = 50;

/** A keyspace that takes writes from now on, and the one of this cluster whose place it takes, where there is one. */
export interface Opening {
  readonly source?: KeyspaceSpec | undefined;
  readonly target: KeyspaceSpec;
}

const specKeyOf = ({ spec, modRevision }: VersionedSpec): Comparison => ({ kind: 'modRevision', key: keyspaceKey(spec.name), equals: modRevision });
const putOf = (spec: KeyspaceSpec): Change => ({ kind: 'put', key: keyspaceKey(spec.name), value: encodeKeyspaceSpec(spec) });
const copyKeyOf = ({ job, modRevision }: VersionedCopy): Comparison => ({ kind: 'modRevision', key: copyKey(job.id), equals: modRevision });

export class CopyStore {
  readonly #store: Pick<MetadataStore, 'get' | 'list' | 'transact'>;
  readonly #election: Comparison;
  readonly #table = new CopyTable();
  /** One writer at a time: each compares what the one before it wrote. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: { readonly store: Pick<MetadataStore, 'get' | 'list' | 'transact'>; readonly election: Comparison }) {
    this.#store = options.store;
    this.#election = options.election;
  }

  job(id: string): CopyJob | undefined {
    return this.#table.job(id);
  }

  /** Newest first. */
  jobs(): readonly CopyJob[] {
    return this.#table.jobs();
  }

  /** Those that have not ended. */
  active(): readonly CopyJob[] {
    return this.#table.active();
  }

  /** Reads everything, unless what is known is current. Throws METADATA_UNAVAILABLE. */
  refresh(): Promise<void> {
    return this.#inTurn(() => this.#carryOut(refreshCopies(this.#table)));
  }

  /**
   * Writes a job and the keyspace that it makes, in one transaction. For a standby a keyspace of the target's name and id may be
   * there: it becomes the copy with what it has, and takes no writes from then on. A primary of this cluster says that there is a
   * standby. Throws KEYSPACE_EXISTS, MIGRATION_CONFLICT when the
   * id stands for another job, METADATA_CONFLICT when it is not known that it was written.
   */
  create(job: CopyJob, target: KeyspaceSpec): Promise<void> {
    return this.#inTurn(async () => {
      for (let attempt = 0; attempt < COPY_WRITES_MAX; attempt += 1) {
        const revision = job.isStandby === true ? await this.#read() : 0;
        const present = job.isStandby === true ? await this.#spec(target.name, target.id) : undefined;
        const isFree = (key: string): Comparison => ({ kind: 'modRevision', key, equals: 0 });
        const primary = job.isStandby === true && job.cluster === undefined ? await this.#spec(job.source, job.sourceId) : undefined;
        const comparisons = [isFree(copyKey(job.id)), isFree(migrationKey(job.id)), present === undefined ? isFree(keyspaceKey(target.name)) : specKeyOf(present), ...(primary === undefined ? [] : [specKeyOf(primary)])];
        const spec = job.isStandby === true ? resumed(present?.spec ?? target, target, revision) : target;
        const changes: Change[] = [{ kind: 'put', key: copyKey(job.id), value: encodeCopyJob(job) }, putOf(spec), ...(primary === undefined ? [] : [putOf({ ...primary.spec, standby: target.name })])];
        const isWritten = await this.#transact(comparisons, changes);
        await this.#read();
        // Also by an earlier attempt, whose answer was lost.
        if (this.job(job.id)?.targetId === target.id) return;
        if (isWritten) throw copyConflict(job.id);
        await this.#refuse(job, target);
      }
      throw copyConflict(job.id);
    });
  }

  /**
   * Changes a job, and with it whether its keyspace takes anything from the source, and how fast. `change` answers the same one where there is nothing to do;
   * it may be called again. Throws MIGRATION_NOT_FOUND, METADATA_CONFLICT.
   */
  update(id: string, change: (job: CopyJob) => CopyJob): Promise<CopyJob> {
    return this.#inTurn(() => this.#carryOut(updateCopy(this.#table, id, change)));
  }

  /**
   * Has a copy take the place of its source, in one transaction with the job, if that is CUTTING_OVER (R37). `revision`: of
   * etcd, at a moment within this call. Answers the job as it stands then; throws when it is not known how it stands:
   * `settle` has to succeed before anything that rests on the source's leaders (R7).
   */
  cutOver(id: string, complete: (job: CopyJob) => CopyJob, specsOf: (specs: Places, revision: number) => Places): Promise<CopyJob> {
    return this.#inTurn(() => this.#carryOut(cutOverCopy(this.#table, id, complete, specsOf)));
  }

  /**
   * Has a copy take writes whose source was moved by the cluster that had it, in one transaction with the job, if that is
   * CUTTING_OVER (R37); and the name of the keyspace whose place it takes, if the job says so. Answers the job as it stands then; where it is not known whether it was written, it is to be done
   * again. Throws METADATA_UNAVAILABLE.
   */
  open(id: string, complete: (job: CopyJob) => CopyJob, specOf: (spec: KeyspaceSpec, revision: number) => KeyspaceSpec): Promise<CopyJob> {
    const opened = ({ source, target }: Opening, revision: number): Opening => {
      const open = specOf(target, revision);
      return source === undefined ? { target: open } : takePlace({ source, target: open });
    };
    return this.#open(id, ({ state }) => state === 'CUTTING_OVER', complete, opened);
  }

  /**
   * As `open`, for a standby that is promoted without its primary: unless the job has ended, or is being cancelled. The primary is
   * written with it where it is in this cluster. `specsOf` answers undefined where it must not be done any more.
   */
  promote(id: string, complete: (job: CopyJob) => CopyJob, specsOf: (specs: Opening, revision: number) => Opening | undefined): Promise<CopyJob> {
    return this.#open(id, (job) => !hasCopyEnded(job) && job.state !== 'CANCELLING', complete, specsOf);
  }

  #open(id: string, isDue: (job: CopyJob) => boolean, complete: (job: CopyJob) => CopyJob, specsOf: (specs: Opening, revision: number) => Opening | undefined): Promise<CopyJob> {
    return this.#inTurn(async () => {
      const revision = await this.#read();
      const stored = this.#table.stored(id);
      const target = stored && (await this.#spec(stored.job.target, stored.job.targetId));
      if (stored === undefined || !isDue(stored.job) || target === undefined) return stored!.job;
      const named = retiredBy(stored.job);
      const source = named && (await this.#spec(named.name, named.id));
      const specs = specsOf({ source: source?.spec, target: target.spec }, revision);
      if (specs === undefined) return stored.job;
      const comparisons = [copyKeyOf(stored), specKeyOf(target), ...(source === undefined ? [] : [specKeyOf(source)])];
      await this.#transact(comparisons, [{ kind: 'put', key: copyKey(id), value: encodeCopyJob(complete(stored.job)) }, putOf(specs.target), ...(specs.source === undefined ? [] : [putOf(specs.source)])]);
      await this.#read();
      return this.#table.job(id)!;
    });
  }

  /** After a cut-over whose answer was lost: has it be done, or be refused for ever. Throws while neither is certain. */
  settle(): Promise<void> {
    return this.#inTurn(() => this.#carryOut(settleCopies(this.#table)));
  }

  /** Does what the task asks for, one after the other. */
  async #carryOut<T>(task: CopyTask<T>): Promise<T> {
    let asked = task.next();
    while (asked.done !== true) {
      let answer: CopyAnswer;
      try {
        answer = await this.#answer(asked.value);
      } catch (error) {
        asked = task.throw(error);
        continue;
      }
      asked = task.next(answer);
    }
    return asked.value;
  }

  async #answer(asked: CopyAsk): Promise<CopyAnswer> {
    if (asked.kind === 'read') return this.#read();
    if (asked.kind === 'spec') return this.#stored(asked.name);
    const { job, specs } = asked;
    const outcome = await this.#store.transact([this.#election, copyKeyOf(job), ...specs.map(specKeyOf)], [{ kind: 'put', key: copyKey(job.job.id), value: encodeCopyJob(job.job) }, ...specs.map(({ spec }) => putOf(spec))]);
    return outcome.kind;
  }

  async #stored(name: string): Promise<VersionedSpec | undefined> {
    const stored = await this.#store.get(keyspaceKey(name));
    const parsed = stored === undefined ? undefined : parseKeyspaceSpec(stored.value);
    return parsed?.kind === 'parsed' ? { spec: parsed.value, modRevision: stored!.modRevision } : undefined;
  }

  async #spec(name: string, id: string): Promise<VersionedSpec | undefined> {
    const stored = await this.#stored(name);
    return stored?.spec.id === id ? stored : undefined;
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

  async #transact(comparisons: readonly Comparison[], changes: readonly Change[]): Promise<boolean> {
    this.#table.onSent();
    const outcome = await this.#store.transact([this.#election, ...comparisons], changes);
    this.#table.onWritten(outcome.kind);
    return outcome.kind === 'succeeded';
  }

  /** Answers etcd's revision. */
  async #read(): Promise<number> {
    const { values, revision } = await this.#store.list(COPIES_PREFIX);
    this.#table.load(
      values.flatMap(({ value, modRevision }): VersionedCopy[] => {
        const parsed = parseCopyJob(value);
        return parsed.kind === 'parsed' ? [{ job: parsed.value, modRevision }] : [];
      }),
    );
    return revision;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

/** `run` is above every revision at which the keyspace's copies began or ended before (R37). */
const resumed = (present: KeyspaceSpec, { copyOf }: KeyspaceSpec, revision: number): KeyspaceSpec => ({ ...present, copyOf: copyOf && { ...copyOf, run: revision + 1 }, cutOver: undefined, freeze: undefined, movedTo: undefined, standby: undefined });

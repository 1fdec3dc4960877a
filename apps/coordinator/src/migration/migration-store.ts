// Migrations in etcd, and what this term knows of them. Only the elected coordinator writes them, so what it has read
// and written is what stands there; a refusal or a lost answer has everything read again (R7, R11).
import { AtollError } from '@atoll/core-errors';
import { MigrationTable, hasEnded, isEnded, type MigrationJob, type MigrationOperator, type MigrationWrite, type OperatorChange } from '@atoll/core-migration';
import {
  MIGRATIONS_PREFIX,
  OPERATORS_PREFIX,
  RESULTS_PREFIX,
  encodeMigrationJob,
  encodeMigrationOperator,
  migrationKey,
  operatorKey,
  parseMigrationJob,
  parseMigrationOperator,
  resultKey,
  type Change,
  type Comparison,
  type MetadataStore,
} from '@atoll/platform-etcd';

/** Ended jobs that are kept, and of how many of them the partitions are kept too. */
export const JOBS_KEPT = 200;
export const RESULTS_KEPT = 20;
/** Times that a write is tried whose outcome is unknown, each on what was read again (R7). */
const WRITES_MAX = 3;
/** Operators per transaction: each takes at most two of the 128 changes that etcd allows. */
const OPERATORS_PER_TRANSACTION = 50;
const DELETES_PER_TRANSACTION = 100;

export class MigrationStore {
  readonly #store: MetadataStore;
  readonly #election: Comparison;
  readonly #wallMs: () => number;
  readonly #table = new MigrationTable();
  #isCurrent = false;
  /** One writer at a time: each compares what the one before it wrote. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: { readonly store: MetadataStore; readonly election: Comparison; readonly wallMs: () => number }) {
    this.#store = options.store;
    this.#election = options.election;
    this.#wallMs = options.wallMs;
  }

  job(id: string): MigrationJob | undefined {
    return this.#table.job(id);
  }

  /** Newest first. */
  jobs(): readonly MigrationJob[] {
    return this.#table.jobs();
  }

  jobsById(): ReadonlyMap<string, MigrationJob> {
    return this.#table.jobsById();
  }

  /** Of jobs that have not ended. */
  operators(): readonly MigrationOperator[] {
    return this.#table.operators();
  }

  operatorOf(keyspace: string, partition: number): MigrationOperator | undefined {
    return this.#table.operatorOf(keyspace, partition);
  }

  /** Operators of one job, ended or not, in order of keyspace, then partition. */
  operatorsOf(job: string): readonly MigrationOperator[] {
    const all = [...this.#table.resultsOf(job), ...this.operators().filter((operator) => operator.job === job)];
    return all.sort((a, b) => (a.keyspace === b.keyspace ? a.partition - b.partition : a.keyspace < b.keyspace ? -1 : 1));
  }

  /** Reads everything, unless what is known is current. Throws METADATA_UNAVAILABLE. */
  refresh(): Promise<void> {
    return this.#inTurn(() => this.#refresh());
  }

  async #refresh(): Promise<void> {
    if (this.#isCurrent) return;
    const [jobs, operators, results] = await Promise.all([this.#store.list(MIGRATIONS_PREFIX), this.#store.list(OPERATORS_PREFIX), this.#store.list(RESULTS_PREFIX)]);
    this.#table.load({
      jobs: jobs.values.flatMap(({ value, modRevision }) => {
        const parsed = parseMigrationJob(value);
        return parsed.kind === 'parsed' ? [{ job: parsed.value, modRevision }] : [];
      }),
      operators: operators.values.flatMap(({ value, modRevision }) => {
        const parsed = parseMigrationOperator(value);
        return parsed.kind === 'parsed' ? [{ operator: parsed.value, modRevision }] : [];
      }),
      results: results.values.flatMap(({ value }) => {
        const parsed = parseMigrationOperator(value);
        return parsed.kind === 'parsed' ? [parsed.value] : [];
      }),
    });
    this.#isCurrent = true;
  }

  /**
   * Writes a job and takes its partitions. Throws MIGRATION_CONFLICT when another job has one of them, or this id
   * stands for another job; METADATA_CONFLICT when it is not known, or not true, that it was written.
   */
  create(job: MigrationJob, operators: readonly MigrationOperator[]): Promise<void> {
    return this.#inTurn(() => this.#create(job, operators));
  }

  async #create(job: MigrationJob, operators: readonly MigrationOperator[]): Promise<void> {
    await this.#refresh();
    this.#checkFree(job, operators);
    const isOneWrite = operators.length <= OPERATORS_PER_TRANSACTION;
    const first: MigrationJob = { ...job, state: isOneWrite ? job.state : 'PREPARING' };
    await this.#take(first, operators.slice(0, OPERATORS_PER_TRANSACTION));
    try {
      for (let start = OPERATORS_PER_TRANSACTION; start < operators.length; start += OPERATORS_PER_TRANSACTION) {
        const isLast = start + OPERATORS_PER_TRANSACTION >= operators.length;
        await this.#take(isLast ? job : first, operators.slice(start, start + OPERATORS_PER_TRANSACTION));
      }
    } catch (error) {
      // What was taken is given back; where this cannot be written, the next coordinator does it.
      await this.#change(job.id, (known) => (known.state === 'PREPARING' ? { ...known, state: 'CANCELLING', problem: 'it could not be written as a whole' } : known)).catch(() => undefined);
      throw error;
    }
  }

  /** Writes some operators of a job that begins, once. */
  async #take(job: MigrationJob, operators: readonly MigrationOperator[]): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const known = this.job(job.id);
      const isSame = known?.traceparent === job.traceparent && known.createdMs === job.createdMs && known.state === job.state;
      if (isSame && operators.every(({ keyspace, partition }) => this.operatorOf(keyspace, partition)?.job === job.id)) return;
      if (await this.#transact(this.#table.begin(operators, job))) return;
      if (attempt === WRITES_MAX) throw notKnownToBeWritten(`begin migration ${job.id}`);
      await this.#refresh();
    }
  }

  /** Changes a job; `change` answers the same one where there is nothing to do. Throws MIGRATION_NOT_FOUND, METADATA_CONFLICT. */
  update(id: string, change: (job: MigrationJob) => MigrationJob): Promise<MigrationJob> {
    return this.#inTurn(() => this.#change(id, change));
  }

  async #change(id: string, change: (job: MigrationJob) => MigrationJob): Promise<MigrationJob> {
    for (let attempt = 1; ; attempt += 1) {
      await this.#refresh();
      const job = this.job(id);
      if (job === undefined) throw migrationNotFound(id);
      const next = change(job);
      if (next === job || (await this.#transact(this.#table.update(next)))) return next;
      if (attempt === WRITES_MAX) throw notKnownToBeWritten(`change migration ${id}`);
    }
  }

  /** Writes what can be written; returns what certainly was. What was not is decided anew, on what is read again. */
  write(changes: readonly OperatorChange[]): Promise<readonly OperatorChange[]> {
    return this.#inTurn(() => this.#write(changes));
  }

  async #write(changes: readonly OperatorChange[]): Promise<readonly OperatorChange[]> {
    const written: OperatorChange[] = [];
    for (let start = 0; start < changes.length; start += OPERATORS_PER_TRANSACTION) {
      const batch = changes.slice(start, start + OPERATORS_PER_TRANSACTION);
      if (!(await this.#transact(this.#table.change(batch)))) return written;
      written.push(...batch);
    }
    return written;
  }

  /** Ends jobs none of whose operators is left, and forgets the oldest. Returns those that ended. */
  settle(): Promise<readonly MigrationJob[]> {
    return this.#inTurn(() => this.#settle());
  }

  async #settle(): Promise<readonly MigrationJob[]> {
    const ended: MigrationJob[] = [];
    for (const job of this.#table.settled(this.#wallMs())) {
      if (!(await this.#transact(this.#table.update(job)))) return ended;
      ended.push(job);
    }
    if (ended.length > 0) await this.#forgetOldest();
    return ended;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  #checkFree(job: MigrationJob, operators: readonly MigrationOperator[]): void {
    if (this.job(job.id) !== undefined) throw new AtollError('MIGRATION_CONFLICT', `id: there is a migration ${job.id} already`, { metadata: { field: 'id', migration: job.id } });
    const taken = operators.flatMap(({ keyspace, partition }) => this.operatorOf(keyspace, partition) ?? []);
    if (taken.length === 0) return;
    const text = taken.slice(0, 5).map(({ keyspace, partition, job: other }) => `${keyspace}/${partition} (migration ${other})`).join(', ');
    throw new AtollError('MIGRATION_CONFLICT', `partitions: ${taken.length} of ${operators.length} are being migrated: ${text}`, { metadata: { field: 'partitions', migration: taken[0]!.job } });
  }

  async #transact(write: MigrationWrite): Promise<boolean> {
    const comparisons: Comparison[] = [this.#election];
    const puts: Change[] = [];
    for (const { operator, modRevision } of write.operators) {
      const { keyspace, partition } = operator;
      const key = operatorKey(keyspace, partition);
      comparisons.push({ kind: 'modRevision', key, equals: modRevision });
      if (hasEnded(operator)) puts.push({ kind: 'delete', key }, { kind: 'put', key: resultKey(operator.job, keyspace, partition), value: encodeMigrationOperator(operator) });
      else puts.push({ kind: 'put', key, value: encodeMigrationOperator(operator) });
    }
    for (const { job, modRevision } of write.jobs) {
      comparisons.push({ kind: 'modRevision', key: migrationKey(job.id), equals: modRevision });
      puts.push({ kind: 'put', key: migrationKey(job.id), value: encodeMigrationJob(job) });
    }
    const outcome = await this.#store.transact(comparisons, puts);
    if (outcome.kind !== 'succeeded') {
      this.#isCurrent = false;
      return false;
    }
    this.#table.note(write, outcome.revision);
    return true;
  }

  async #forgetOldest(): Promise<void> {
    const ended = this.jobs().filter(isEnded);
    const keys: string[] = [];
    for (const { id } of ended.slice(RESULTS_KEPT)) {
      for (const { keyspace, partition } of this.#table.resultsOf(id)) keys.push(resultKey(id, keyspace, partition));
    }
    for (const { id } of ended.slice(JOBS_KEPT)) keys.push(migrationKey(id));
    for (let start = 0; start < keys.length; start += DELETES_PER_TRANSACTION) {
      const changes = keys.slice(start, start + DELETES_PER_TRANSACTION).map((key): Change => ({ kind: 'delete', key }));
      const outcome = await this.#store.transact([this.#election], changes);
      if (outcome.kind !== 'succeeded') return;
    }
    for (const { id } of ended.slice(RESULTS_KEPT)) this.#table.forgetResults(id);
    for (const { id } of ended.slice(JOBS_KEPT)) this.#table.forgetJob(id);
  }
}

const notKnownToBeWritten = (what: string): AtollError =>
  new AtollError('METADATA_CONFLICT', `${what}: it is not known whether this was written, or another coordinator was elected; look at the list of migrations`);

export const migrationNotFound = (id: string): AtollError => new AtollError('MIGRATION_NOT_FOUND', `id: there is no migration ${id}`, { metadata: { field: 'id', migration: id } });

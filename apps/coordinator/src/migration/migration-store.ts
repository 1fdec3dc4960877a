// Migrations in etcd, and what this term knows of them. Only the elected coordinator writes them, so what it has read
// and written is what stands there; a refusal or a lost answer has everything read again (R7, R11).
import { AtollError } from '@atoll/core-errors';
import {
  MigrationTable,
  createMigration,
  hasEnded,
  isEnded,
  refreshMigrations,
  settleMigrations,
  takeOverMigrations,
  updateMigration,
  writeSteps,
  type MigrationJob,
  type MigrationOperator,
  type MigrationTask,
  type MigrationWrite,
  type OperatorChange,
} from '@atoll/core-migration';
import {
  MIGRATIONS_PREFIX,
  MIGRATIONS_TURN_KEY,
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
const DELETES_PER_TRANSACTION = 100;

export type MigrationMetadata = Pick<MetadataStore, 'get' | 'list' | 'transact'>;

export class MigrationStore {
  readonly #store: MigrationMetadata;
  readonly #election: Comparison;
  readonly #wallMs: () => number;
  readonly #table = new MigrationTable();
  /** One writer at a time: each compares what the one before it wrote. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: { readonly store: MigrationMetadata; readonly election: Comparison; readonly wallMs: () => number }) {
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
    return this.#inTurn(() => this.#carryOut(refreshMigrations(this.#table)));
  }

  /** Takes back what another coordinator left half written. Throws as `refresh` and `update`. */
  takeOver(): Promise<void> {
    return this.#inTurn(() => this.#carryOut(takeOverMigrations(this.#table)));
  }

  /**
   * Writes a job and takes its partitions. Throws MIGRATION_CONFLICT when another job has one of them, or this id
   * stands for another job; METADATA_CONFLICT when it is not known, or not true, that it was written.
   */
  create(job: MigrationJob, operators: readonly MigrationOperator[]): Promise<void> {
    return this.#inTurn(() => this.#carryOut(createMigration(this.#table, job, operators)));
  }

  /** Changes a job; `change` answers the same one where there is nothing to do. Throws MIGRATION_NOT_FOUND, METADATA_CONFLICT. */
  update(id: string, change: (job: MigrationJob) => MigrationJob): Promise<MigrationJob> {
    return this.#inTurn(() => this.#carryOut(updateMigration(this.#table, id, change)));
  }

  /** Writes what can be written; returns what certainly was. What was not is decided anew, on what is read again. */
  write(changes: readonly OperatorChange[]): Promise<readonly OperatorChange[]> {
    return this.#inTurn(() => this.#carryOut(writeSteps(this.#table, changes)));
  }

  /** Ends jobs none of whose operators is left, and forgets the oldest. Returns those that ended. */
  settle(): Promise<readonly MigrationJob[]> {
    return this.#inTurn(async () => {
      const ended = await this.#carryOut(settleMigrations(this.#table, this.#wallMs()));
      if (ended.length > 0) await this.#forgetOldest();
      return ended;
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #carryOut<T>(task: MigrationTask<T>): Promise<T> {
    let asked = task.next();
    while (asked.done !== true) {
      let answer = true;
      try {
        if (asked.value === 'settle') answer = await this.#settleLost();
        else if (asked.value === 'read') await this.#read();
        else answer = await this.#transact(asked.value);
      } catch (error) {
        asked = task.throw(error);
        continue;
      }
      asked = task.next(answer);
    }
    return asked.value;
  }

  /** What was lost compares an older turn. Throws METADATA_CONFLICT when another coordinator was elected. */
  async #settleLost(): Promise<boolean> {
    const { kind } = await this.#store.transact([this.#election], [{ kind: 'put', key: MIGRATIONS_TURN_KEY, value: '' }]);
    if (kind === 'refused') throw new AtollError('METADATA_CONFLICT', 'another coordinator was elected');
    if (kind === 'succeeded') this.#table.onSettled();
    return kind === 'succeeded';
  }

  async #read(): Promise<void> {
    const turn = await this.#store.get(MIGRATIONS_TURN_KEY);
    const [jobs, operators, results] = await Promise.all([this.#store.list(MIGRATIONS_PREFIX), this.#store.list(OPERATORS_PREFIX), this.#store.list(RESULTS_PREFIX)]);
    this.#table.load({
      turn: turn?.modRevision ?? 0,
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
  }

  async #transact(write: MigrationWrite): Promise<boolean> {
    const comparisons: Comparison[] = [this.#election, { kind: 'modRevision', key: MIGRATIONS_TURN_KEY, equals: write.turn }];
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
      this.#table.onFailed(outcome.kind === 'unknown');
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

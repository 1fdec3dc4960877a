// The migrations that stand in etcd, as one coordinator knows them, and what a change of them compares (R11). Whoever
// carries a change out compares every revision named here together with the election, and writes all or nothing; an
// operator that ended leaves its key, and its partition, to others (R38).
import { partitionName } from '@atoll/core-membership';
import { noteEnd, settleJob } from './advance.ts';
import type { MigrationJob } from './migration-job.ts';
import { hasEnded, type MigrationOperator } from './operator.ts';

export interface VersionedJob {
  readonly job: MigrationJob;
  /** Of what stands in etcd; 0: nothing does. */
  readonly modRevision: number;
}

export interface VersionedOperator {
  readonly operator: MigrationOperator;
  /** As of a job; -1 where none is known although one should be: such a change is never written. */
  readonly modRevision: number;
}

/** An operator at its next step, or at its end. */
export interface OperatorChange {
  readonly from: MigrationOperator;
  readonly to: MigrationOperator;
}

/** What is written in one transaction, each with the revision that it replaces. */
export interface MigrationWrite {
  /** Revision of the key that settles what was lost, which every write compares; see `MigrationTable.isInDoubt`. */
  readonly turn: number;
  readonly operators: readonly VersionedOperator[];
  readonly jobs: readonly VersionedJob[];
}

export class MigrationTable {
  readonly #jobs = new Map<string, VersionedJob>();
  /** By `partitionName`. */
  readonly #operators = new Map<string, VersionedOperator>();
  /** How operators ended, by job, then by `partitionName`. */
  readonly #results = new Map<string, Map<string, MigrationOperator>>();
  #turn = 0;
  #isCurrent = false;
  #isInDoubt = false;

  /** False before everything was read, and after a write that was not carried out, or of which that is not known. */
  get isCurrent(): boolean {
    return this.#isCurrent;
  }

  /**
   * A write was lost: it may yet be carried out, also after it was read that it was not (R7). Before anything is read
   * again the key `turn` is written, which every write compares: from then on what was lost stays lost.
   */
  get isInDoubt(): boolean {
    return this.#isInDoubt;
  }

  /** A write did not come about, or, `isLost`, nobody knows whether it will. */
  onFailed(isLost: boolean): void {
    this.#isCurrent = false;
    this.#isInDoubt ||= isLost;
  }

  /** The key `turn` was written. */
  onSettled(): void {
    this.#isInDoubt = false;
  }

  /** Everything that stands there; `turn`: the revision of that key, 0 when it is not there, read before the rest. */
  load(stored: { readonly turn: number; readonly jobs: Iterable<VersionedJob>; readonly operators: Iterable<VersionedOperator>; readonly results: Iterable<MigrationOperator> }): void {
    for (const map of [this.#jobs, this.#operators, this.#results]) map.clear();
    for (const versioned of stored.jobs) this.#jobs.set(versioned.job.id, versioned);
    for (const versioned of stored.operators) this.#operators.set(nameOf(versioned.operator), versioned);
    for (const operator of stored.results) this.#noteResult(operator);
    this.#turn = stored.turn;
    this.#isCurrent = true;
  }

  job(id: string): MigrationJob | undefined {
    return this.#jobs.get(id)?.job;
  }

  /** Newest first. */
  jobs(): readonly MigrationJob[] {
    return [...this.#jobs.values()].map(({ job }) => job).sort((a, b) => b.createdMs - a.createdMs || (a.id < b.id ? -1 : 1));
  }

  jobsById(): ReadonlyMap<string, MigrationJob> {
    return new Map([...this.#jobs].map(([id, { job }]) => [id, job]));
  }

  /** Of jobs that have not ended. */
  operators(): readonly MigrationOperator[] {
    return [...this.#operators.values()].map(({ operator }) => operator);
  }

  operatorOf(keyspace: string, partition: number): MigrationOperator | undefined {
    return this.#operators.get(partitionName(keyspace, partition))?.operator;
  }

  /** How operators of a job ended. */
  resultsOf(job: string): readonly MigrationOperator[] {
    return [...(this.#results.get(job)?.values() ?? [])];
  }

  /** Operators of a job that begins. */
  begin(operators: readonly MigrationOperator[], job: MigrationJob): MigrationWrite {
    return { turn: this.#turn, operators: operators.map((operator) => ({ operator, modRevision: 0 })), jobs: [this.#versioned(job)] };
  }

  /** Steps, and what they make of their jobs. */
  change(changes: readonly OperatorChange[]): MigrationWrite {
    const jobs = new Map<string, MigrationJob>();
    for (const { to } of changes) {
      const job = jobs.get(to.job) ?? this.job(to.job);
      if (hasEnded(to) && job !== undefined) jobs.set(to.job, noteEnd(job, to));
    }
    return {
      turn: this.#turn,
      operators: changes.map(({ to }) => ({ operator: to, modRevision: this.#operators.get(nameOf(to))?.modRevision ?? -1 })),
      jobs: [...jobs.values()].map((job) => this.#versioned(job)),
    };
  }

  update(job: MigrationJob): MigrationWrite {
    return { turn: this.#turn, operators: [], jobs: [this.#versioned(job)] };
  }

  /** Jobs that are over, since none of their operators is left. */
  settled(wallMs: number): readonly MigrationJob[] {
    const running = new Map<string, number>();
    for (const { operator } of this.#operators.values()) running.set(operator.job, (running.get(operator.job) ?? 0) + 1);
    return [...this.#jobs.values()].flatMap(({ job }) => {
      const settled = settleJob(job, running.get(job.id) ?? 0, wallMs);
      return settled === job ? [] : [settled];
    });
  }

  /** It was written, at this revision. */
  note(written: MigrationWrite, modRevision: number): void {
    for (const { operator } of written.operators) {
      if (!hasEnded(operator)) {
        this.#operators.set(nameOf(operator), { operator, modRevision });
        continue;
      }
      this.#operators.delete(nameOf(operator));
      this.#noteResult(operator);
    }
    for (const { job } of written.jobs) this.#jobs.set(job.id, { job, modRevision });
  }

  forgetResults(job: string): void {
    this.#results.delete(job);
  }

  forgetJob(id: string): void {
    this.#jobs.delete(id);
  }

  #versioned(job: MigrationJob): VersionedJob {
    return { job, modRevision: this.#jobs.get(job.id)?.modRevision ?? 0 };
  }

  #noteResult(operator: MigrationOperator): void {
    const ofJob = this.#results.get(operator.job) ?? new Map<string, MigrationOperator>();
    this.#results.set(operator.job, ofJob.set(nameOf(operator), operator));
  }
}

const nameOf = ({ keyspace, partition }: MigrationOperator): string => partitionName(keyspace, partition);

import type { JobRun } from '../jobs/job-kind.ts';
import type { JobNotes, JobRecord } from '../jobs/job-record.ts';

/** A job that is a part of another one: with a checkpoint of its own in that one's record. */
export class SubRun implements JobRun {
  readonly #run: JobRun;
  readonly #name: string;
  readonly #changes: Partial<JobRecord>;

  constructor(run: JobRun, name: string, changes: Partial<JobRecord>) {
    this.#run = run;
    this.#name = name;
    this.#changes = changes;
  }

  get job(): JobRecord {
    const { job } = this.#run;
    return { ...job, ...this.#changes, checkpoint: (job.checkpoint[this.#name] ?? {}) as JobNotes };
  }

  get duty(): JobRun['duty'] {
    return this.#run.duty;
  }

  get signal(): AbortSignal {
    return this.#run.signal;
  }

  get meter(): JobRun['meter'] {
    return this.#run.meter;
  }

  get span(): JobRun['span'] {
    return this.#run.span;
  }

  enter(phase: string): Promise<void> {
    return this.#run.enter(phase);
  }

  checkpoint(notes: JobNotes): Promise<number> {
    return this.#run.checkpoint({ ...this.#run.job.checkpoint, [this.#name]: notes });
  }

  /** Of a part nothing is told apart. */
  leaves(): void {}

  waitsFor(problem: string): void {
    this.#run.waitsFor(problem);
  }
}

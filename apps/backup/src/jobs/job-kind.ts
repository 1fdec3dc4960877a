// What a kind of job has to say: how it is done, and how it is taken back. The runner (job-runner.ts) does the rest: whose turn it is,
// the record in etcd, cancelling, going on after a crash.
import type { AtollError } from '@atoll/core-errors';
import type { Span } from '@atoll/platform-telemetry';
import type { Duty } from './duty.ts';
import type { JobMeter } from './job-meter.ts';
import type { JobKindName, JobNotes, JobRecord } from './job-record.ts';

/** How a job came to a good end. */
export interface JobOutcome {
  /** One sentence. */
  readonly summary: string;
  /** As its kind shows it (job-messages.ts); about 3 KiB of JSON at most. */
  readonly result?: JobNotes | undefined;
}

/** A failure that has something to show beside its reason. */
export class JobFailed extends Error {
  override readonly cause: AtollError;
  readonly result: JobNotes;

  constructor(cause: AtollError, result: JobNotes) {
    super(cause.message);
    this.cause = cause;
    this.result = result;
  }
}

export interface JobKind {
  readonly kind: JobKindName;
  /**
   * Does the job, or goes on with it: `run.job` says how far it came, and nothing more than that is certain; also that it ended, where
   * only its record could not be written. When `run.signal` aborts it throws soon, having let go of what it holds in this process
   * and in the repository. What it throws otherwise is why the job failed.
   */
  run(run: JobRun): Promise<JobOutcome>;
  /**
   * Takes back what a job began that failed or was cancelled, in this process or in one that died. May be called more than
   * once. What it throws stands in the record beside why the job ended.
   */
  takeBack?(run: JobRun): Promise<void>;
}

/** One job in the hands of this process. */
export interface JobRun {
  /** As it stood when it was taken up, with the checkpoints since. */
  readonly job: JobRecord;
  readonly duty: Duty;
  /** Aborts when the job is cancelled, or has to be left to another process. While it is taken back: only the latter. */
  readonly signal: AbortSignal;
  readonly meter: JobMeter;
  /** Of the whole run. */
  readonly span: Span | undefined;
  /** Shown at once; ends what it waited for. */
  enter(phase: string): Promise<void>;
  /**
   * Kept with the record before this resolves; `job.checkpoint` from then on. Answers the revision of etcd at which it was written: above
   * that of any checkpoint before, of whatever job and process, so it fences what they send late (I9). Throws METADATA_* .
   */
  checkpoint(notes: JobNotes): Promise<number>;
  /** What stays of the job if it fails or is cancelled: told with its end. */
  leaves(outcome: JobOutcome): void;
  /** Shown with the next figures: why it does not go on at the moment. Empty: it goes on. */
  waitsFor(problem: string): void;
}

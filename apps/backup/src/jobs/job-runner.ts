// Does the jobs while this process is on duty. Of one kind one at a time, in the order in which they were asked for; kinds side by
// side. A job that is found RUNNING was begun by a process that died or lost the lock: it is taken up.
import { AtollError } from '@atoll/core-errors';
import { waitFor } from '@atoll/platform-lifecycle';
import { failSpan, type Logger, type Span, type Tracing } from '@atoll/platform-telemetry';
import { isLeft, type Duty } from './duty.ts';
import { JobFailed, type JobKind, type JobOutcome, type JobRun } from './job-kind.ts';
import { JobMeter } from './job-meter.ts';
import { hasEnded, type JobFigures, type JobKindName, type JobNotes, type JobRecord } from './job-record.ts';
import type { JobStore } from './job-store.ts';

/** How often figures are taken, and how often they go to etcd where they changed. */
const FIGURES_MS = 1000;
const SAVE_EVERY = 2;
/** One that ended its process so often is not begun again. */
const TAKE_UPS_MAX = 50;

export interface JobRunnerOptions {
  readonly jobs: JobStore;
  readonly kinds: readonly JobKind[];
  readonly duty: Duty;
  readonly logger: Logger;
  readonly tracing: Pick<Tracing, 'withSpan'>;
  /** Told when a job has ended. */
  readonly onEnded: (job: JobRecord) => void;
}

export class JobRunner {
  readonly #options: JobRunnerOptions;
  readonly #kinds: ReadonlyMap<JobKindName, JobKind>;
  readonly #runs = new Map<string, Run>();
  #wake = Promise.withResolvers<void>();

  constructor(options: JobRunnerOptions) {
    this.#options = options;
    this.#kinds = new Map(options.kinds.map((kind) => [kind.kind, kind]));
  }

  /** What this process knows better than etcd; undefined for a job that it does not run. */
  live(id: string): Pick<JobRecord, 'figures' | 'phase' | 'problem'> | undefined {
    return this.#runs.get(id)?.live;
  }

  /** Of the jobs that it runs; one of a kind at a time. */
  figures(): ReadonlyMap<JobKindName, JobFigures> {
    return new Map([...this.#runs.values()].map(({ kind, live }) => [kind, live.figures]));
  }

  /** Resolves when the duty has ended and every run has let go. */
  async work(): Promise<void> {
    const { jobs, duty, logger } = this.#options;
    const ended = Promise.withResolvers<void>();
    duty.signal.addEventListener('abort', () => ended.resolve(), { once: true });
    if (duty.signal.aborted) ended.resolve();
    const settings = { signal: duty.signal, onWaiting: (message: string, err: unknown) => logger.warn({ err }, message) };
    const watch = await waitFor('etcd', () => jobs.watch(() => this.#wake.resolve()), settings).catch(() => undefined);
    const timer = setInterval(() => this.#tick(), FIGURES_MS);
    while (!duty.signal.aborted) {
      this.#wake = Promise.withResolvers();
      await waitFor('etcd', () => this.#sweep(), settings).catch(() => undefined);
      await Promise.race([this.#wake.promise, ended.promise]);
    }
    clearInterval(timer);
    await watch?.close();
    await Promise.all([...this.#runs.values()].map(({ done }) => done));
  }

  /** Begins what is due, and tells running jobs that they were cancelled. */
  async #sweep(): Promise<void> {
    const { jobs, duty } = this.#options;
    const active = (await jobs.list()).filter((job) => !hasEnded(job)).reverse();
    for (const job of active) if (job.state === 'CANCELLING') this.#runs.get(job.id)?.cancel();
    const busy = new Set([...this.#runs.values()].map(({ kind }) => kind));
    // One that had begun goes on before another one begins.
    for (const job of [...active.filter(({ state }) => state !== 'PENDING'), ...active.filter(({ state }) => state === 'PENDING')]) {
      const kind = this.#kinds.get(job.kind);
      if (kind === undefined || busy.has(job.kind) || duty.signal.aborted) continue;
      busy.add(job.kind);
      this.#begin(job, kind);
    }
    await jobs.prune([duty.lock.comparison]);
  }

  #begin(job: JobRecord, kind: JobKind): void {
    const run = new Run(job, kind, this.#options);
    this.#runs.set(job.id, run);
    void run.done.finally(() => {
      this.#runs.delete(job.id);
      this.#wake.resolve();
    });
  }

  #ticks = 0;

  #tick(): void {
    this.#ticks += 1;
    for (const run of this.#runs.values()) run.tick(this.#ticks % SAVE_EVERY === 0);
  }
}

class Run implements JobRun {
  readonly kind: JobKindName;
  readonly meter = new JobMeter();
  readonly done: Promise<void>;
  job: JobRecord;
  span: Span | undefined;
  signal: AbortSignal;
  readonly #options: JobRunnerOptions;
  readonly #how: JobKind;
  readonly #cancelled = new AbortController();
  #phase: string;
  #problem = '';
  #left: JobOutcome | undefined;
  #figures: JobFigures;
  #saved = '';
  /** Writes of the record follow each other. */
  #writes: Promise<unknown> = Promise.resolve();

  constructor(job: JobRecord, how: JobKind, options: JobRunnerOptions) {
    this.kind = job.kind;
    this.job = job;
    this.#how = how;
    this.#options = options;
    this.#phase = job.phase;
    this.#figures = job.figures;
    this.signal = AbortSignal.any([options.duty.signal, this.#cancelled.signal]);
    this.done = this.#run();
  }

  get duty(): Duty {
    return this.#options.duty;
  }

  get live(): Pick<JobRecord, 'figures' | 'phase' | 'problem'> {
    return { figures: this.#figures, phase: this.#phase, problem: this.#problem };
  }

  cancel(): void {
    if (!this.#cancelled.signal.aborted) this.#cancelled.abort(new AtollError('CANCELLED', `the job ${this.job.id} was cancelled`));
  }

  async enter(phase: string): Promise<void> {
    this.#phase = phase;
    this.#problem = '';
    this.span?.addEvent(phase);
    // Etcd may be away: what is shown is not what the job rests on.
    await this.#write((job) => ({ ...job, phase, problem: '' })).catch(() => undefined);
  }

  async checkpoint(checkpoint: JobNotes): Promise<number> {
    const { job, revision } = await this.#writeAt((stored) => ({ ...stored, checkpoint }));
    this.job = job;
    return revision;
  }

  leaves(outcome: JobOutcome): void {
    this.#left = outcome;
  }

  waitsFor(problem: string): void {
    if (problem !== '' && this.#problem === '') this.#options.logger.warn({ job: this.job.id, problem }, 'a job waits');
    this.#problem = problem;
  }

  tick(isSaved: boolean): void {
    this.#figures = this.meter.figures(performance.now());
    const text = JSON.stringify(this.live);
    if (!isSaved || text === this.#saved) return;
    this.#saved = text;
    void this.#write((job) => (hasEnded(job) ? job : { ...job, ...this.live })).catch(() => undefined);
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { duty, logger } = this.#options;
    try {
      const { id, kind, archive, traceparent } = this.job;
      const settings = traceparent === '' ? {} : { parent: traceparent };
      await this.#options.tracing.withSpan(`atoll.backup.${kind.toLowerCase()}`, { 'atoll.job': id, 'atoll.archive': archive, 'atoll.take_ups': this.job.takeUps }, (span) => this.#take(span), settings);
    } catch (error) {
      if (!isLeft(duty, error)) logger.error({ err: error, job: this.job.id }, 'how a job ended cannot be written');
    }
  }

  async #take(span: Span | undefined): Promise<void> {
    this.span = span;
    const { job, duty, logger } = { job: this.job, ...this.#options };
    const isNew = job.state === 'PENDING';
    this.job = await this.#certainly((stored) => {
      if (stored.state === 'PENDING') return { ...stored, state: 'RUNNING', startedMs: Date.now() };
      return { ...stored, takeUps: stored.takeUps + (isNew ? 0 : 1) };
    });
    // It was cancelled while it waited.
    if (hasEnded(this.job)) return;
    if (this.job.state === 'CANCELLING') this.cancel();
    logger.info({ job: job.id, kind: job.kind, archive: job.archive, takeUps: this.job.takeUps }, isNew ? 'a job begins' : 'a job is taken up');
    let outcome: JobOutcome;
    try {
      this.signal.throwIfAborted();
      if (this.job.takeUps > TAKE_UPS_MAX) throw new AtollError('INTERNAL', `its process ended ${TAKE_UPS_MAX} times before it came to an end`);
      outcome = await this.#how.run(this);
    } catch (error) {
      if (isLeft(duty, error)) throw error;
      await this.#giveUp(error);
      return;
    }
    this.#figures = this.meter.figures(performance.now());
    await this.#end({ state: 'SUCCEEDED', problem: '', summary: outcome.summary, result: outcome.result });
  }

  async #giveUp(thrown: unknown): Promise<void> {
    const { cause: error, result } = thrown instanceof JobFailed ? thrown : { cause: thrown, result: undefined };
    const { duty, logger } = this.#options;
    const isCancelled = this.#cancelled.signal.aborted;
    let problem = isCancelled ? '' : error instanceof AtollError ? error.message : `an error of Atoll itself: ${String(error)}`;
    if (!(error instanceof AtollError)) logger.error({ err: error, job: this.job.id }, 'a job failed in an unexpected way');
    this.signal = duty.signal;
    try {
      await this.#how.takeBack?.(this);
    } catch (failure) {
      if (isLeft(duty, failure)) throw failure;
      problem = [problem, `what it began was not taken back: ${(failure as Error).message}`].filter((text) => text !== '').join('; ');
    }
    if (!isCancelled && this.span !== undefined) failSpan(this.span, error);
    await this.#end({ state: isCancelled ? 'CANCELLED' : 'FAILED', problem, summary: this.#left?.summary ?? '', result: result ?? this.#left?.result });
  }

  async #end(end: Pick<JobRecord, 'state' | 'problem'> & Partial<JobRecord>): Promise<void> {
    const { logger, onEnded } = this.#options;
    const figures = { ...this.#figures, bytesPerSecond: 0, remainingMs: undefined };
    this.span?.setAttributes({ 'atoll.state': end.state, 'atoll.bytes': figures.bytesDone, 'atoll.entries': figures.entries });
    this.job = await this.#certainly((job) => ({ ...job, ...end, figures, phase: this.#phase, endedMs: Date.now(), checkpoint: {} }));
    logger.info({ job: this.job.id, kind: this.kind, state: end.state, problem: end.problem, summary: this.job.summary }, 'a job has ended');
    onEnded(this.job);
  }

  /** As long as this process is on duty. */
  #certainly(change: (job: JobRecord) => JobRecord): Promise<JobRecord> {
    const { duty, logger } = this.#options;
    return waitFor('etcd', () => this.#write(change), { signal: duty.signal, onWaiting: (message, err) => logger.warn({ err, job: this.job.id }, message) });
  }

  async #write(change: (job: JobRecord) => JobRecord): Promise<JobRecord> {
    return (await this.#writeAt(change)).job;
  }

  #writeAt(change: (job: JobRecord) => JobRecord): Promise<{ readonly job: JobRecord; readonly revision: number }> {
    const { jobs, duty } = this.#options;
    const written = this.#writes.then(() => jobs.write(this.job.id, change, [duty.lock.comparison]));
    this.#writes = written.catch(() => undefined);
    return written;
  }
}

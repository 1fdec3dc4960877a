// Begins the backups, checks and drills of schedules when they are due, and has archives removed that need not stay. On duty only. What it has begun is
// known by the id of the job, which follows from the moment at which it was due: done twice, it is done once.
import { CLOCK_SLACK_MS } from '@atoll/core-archive';
import { isAtollError } from '@atoll/core-errors';
import { ArchiveKind, type ArchiveInfo } from '@atoll/contracts/atoll/v1/backup';
import type { Logger } from '@atoll/platform-telemetry';
import type { BackupAsk } from '../cold/backup-ask.ts';
import type { ArchiveList } from '../jobs/archive-list.ts';
import type { Duty } from '../jobs/duty.ts';
import type { DrillAsk } from '../drill/drill-job.ts';
import type { JobAsk, JobDesk } from '../jobs/job-desk.ts';
import { hasEnded } from '../jobs/job-record.ts';
import { rest } from '../jobs/rest.ts';
import { CHUNK_AGE_MS_DEFAULT, type CollectAsk, type DeleteAsk } from '../jobs/maintenance-jobs.ts';
import type { VerifyAsk } from '../verify/verify-job.ts';
import { CronTimes } from './cron-times.ts';
import type { ScheduleRecord } from './schedule-record.ts';
import { SCHEDULES_MAX, type ScheduleStore } from './schedule-store.ts';
import { archivesOf, kindOfNext, outdated, scheduledArchive } from './scheduled-archives.ts';

/** How often it looks whether something is due, in ms. */
const LOOK_MS = 1000;
/** The repository is listed at least so often, in ms: archives come and go by other hands. */
const LIST_MS = 60_000;
/** As many as one request may name. */
const REMOVED_AT_ONCE = 16;

/** A schedule, and what there is of it in the repository. */
export interface ScheduleView {
  readonly schedule: ScheduleRecord;
  readonly nextMs: number | undefined;
  readonly archives: readonly ArchiveInfo[];
  /** False: what there is in the repository is not known, since it cannot be listed. */
  readonly isListed: boolean;
  /** Cut of the newest archive, or end of the last success; 0: there is none. */
  readonly doneMs: number;
  /** Also where the newest one lies ahead of the clock: how old it is cannot be told then. */
  readonly isOverdue: boolean;
}

export interface SchedulerOptions {
  readonly schedules: ScheduleStore;
  readonly desk: JobDesk;
  readonly archives: Pick<ArchiveList, 'list'>;
  readonly logger: Logger;
  /** Wall clock. */
  readonly nowMs: () => number;
}

export class Scheduler {
  readonly #options: SchedulerOptions;
  #views: readonly ScheduleView[] = [];
  /** Undefined before the repository was listed. */
  #archives: readonly ArchiveInfo[] | undefined;
  #listedMs = Number.NEGATIVE_INFINITY;
  /** By expression. */
  #times = new Map<string, CronTimes>();
  #problem = '';

  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  /** As it last looked, while on duty. */
  get views(): readonly ScheduleView[] {
    return this.#views;
  }

  /** Until the duty ends. Never rejects. */
  async work(duty: Duty): Promise<void> {
    while (!duty.signal.aborted) {
      await this.look(duty).catch((error: unknown) => this.#tell(error));
      await rest(LOOK_MS, duty.signal).catch(() => undefined); // The loop ends with the duty.
    }
    this.#views = [];
  }

  /** One look. Throws METADATA_*. What is due waits until the repository has been listed: what it goes on from is there. */
  async look(duty: Pick<Duty, 'lock'>): Promise<void> {
    const { schedules, nowMs } = this.#options;
    const now = nowMs();
    const all = await schedules.list();
    if (all.length > 0 && Math.abs(now - this.#listedMs) >= LIST_MS) await this.#list(all);
    const archives = this.#archives;
    if (archives !== undefined) for (const schedule of all) await this.#begin(schedule, archives, duty);
    // Of archives that cannot be listed none counts: somebody has to hear of it.
    this.#views = all.map((schedule) => viewOf(schedule, archives, now, this.#timesOf(schedule)));
  }

  /** A job has ended: archives may have come or gone. */
  forgetArchives(): void {
    this.#listedMs = Number.NEGATIVE_INFINITY;
  }

  async #begin(schedule: ScheduleRecord, archives: readonly ArchiveInfo[], { lock }: Pick<Duty, 'lock'>): Promise<void> {
    const { desk, logger, nowMs } = this.#options;
    const now = nowMs();
    const times = this.#timesOf(schedule);
    // What lies ahead of the clock was begun by one that has been set back since: it is due again.
    const firedMs = schedule.firedMs > now + CLOCK_SLACK_MS ? 0 : schedule.firedMs;
    const dueMs = schedule.isPaused ? undefined : times.due(Math.min(Math.max(schedule.createdMs, firedMs), now), now);
    if (dueMs === undefined && schedule.action === 'BACKUP') return;
    const before = schedule.lastJob === '' ? undefined : await desk.jobs.get(schedule.lastJob);
    if (before?.state === 'SUCCEEDED' && schedule.action !== 'BACKUP' && before.endedMs !== schedule.succeededMs) await this.#note(schedule, { succeededMs: before.endedMs }, lock);
    if (dueMs === undefined) return;
    const isBusy = before !== undefined && !hasEnded(before);
    const job = isBusy ? schedule.lastJob : `${schedule.name}-${dueMs.toString(36)}`;
    if (!isBusy) {
      const asked = askOf(schedule, archives, dueMs);
      if (asked === undefined) {
        await this.#note(schedule, { firedMs: dueMs, problem: `left out at ${new Date(dueMs).toISOString()}: there is no archive yet` }, lock);
        return;
      }
      await desk.submit({ ...asked, kind: schedule.action, id: job });
      logger.info({ schedule: schedule.name, job, dueMs, kind: schedule.action, archive: asked.archive }, 'a scheduled job begins');
    } else logger.warn({ schedule: schedule.name, job, dueMs }, 'a scheduled job is left out: the one before it has not ended');
    const problem = isBusy ? `left out at ${new Date(dueMs).toISOString()}: ${job} had not ended` : '';
    await this.#note(schedule, { firedMs: dueMs, lastJob: job, problem }, lock);
  }

  /** Unless another schedule has taken its name. */
  async #note({ name, createdMs }: ScheduleRecord, changes: Partial<ScheduleRecord>, lock: Duty['lock']): Promise<void> {
    await this.#options.schedules.change(name, (stored) => (stored === undefined || stored.createdMs !== createdMs ? stored : { ...stored, ...changes }), [lock.comparison]);
  }

  #timesOf({ cron }: ScheduleRecord): CronTimes {
    if (this.#times.size > 2 * SCHEDULES_MAX) this.#times.clear();
    let times = this.#times.get(cron);
    if (times === undefined) this.#times.set(cron, (times = new CronTimes(cron)));
    return times;
  }

  /** Lists the repository, and has removed what need not stay. */
  async #list(schedules: readonly ScheduleRecord[]): Promise<void> {
    const { archives, nowMs } = this.#options;
    let listed: readonly ArchiveInfo[];
    try {
      listed = await archives.list();
    } catch (error) {
      this.#tell(error);
      return;
    }
    this.#archives = listed;
    this.#listedMs = nowMs();
    this.#problem = '';
    for (const { name, retention, action } of schedules) {
      if (action !== 'BACKUP') continue;
      const gone = outdated(archivesOf(name, listed), listed, retention, nowMs());
      if (gone.length > 0) await this.#remove(name, gone.slice(0, REMOVED_AT_ONCE));
    }
  }

  async #remove(schedule: string, archives: readonly string[]): Promise<void> {
    const { desk, logger } = this.#options;
    const active = (await desk.jobs.list()).filter((job) => !hasEnded(job));
    // One after the other, and nothing behind a backup that may go on from one of them: it looks for its parent when it begins.
    if (active.some(({ kind }) => kind === 'DELETE' || kind === 'COLLECT' || kind === 'BACKUP')) return;
    const removal: DeleteAsk = { archives };
    const collection: CollectAsk = { besideWriters: false, chunkAgeMsMin: CHUNK_AGE_MS_DEFAULT };
    logger.info({ schedule, archives }, 'archives that need not stay are removed');
    await desk.submit({ kind: 'DELETE', id: '', archive: archives[0]!, keyspaces: [], ask: { ...removal } });
    await desk.submit({ kind: 'COLLECT', id: '', archive: '', keyspaces: [], ask: { ...collection } });
  }

  #tell(error: unknown): void {
    const problem = (error as Error).message;
    if (problem !== this.#problem) this.#options.logger.warn({ err: error }, isAtollError(error) ? 'schedules wait' : 'schedules cannot be looked at');
    this.#problem = problem;
  }
}

/** Undefined: there is nothing to check. */
function askOf(schedule: ScheduleRecord, archives: readonly ArchiveInfo[], dueMs: number): Pick<JobAsk, 'archive' | 'keyspaces' | 'ask'> | undefined {
  const { name, action, keyspaces, incrementals, bytesPerSecond } = schedule;
  if (action === 'BACKUP') {
    const own = archivesOf(name, archives);
    const kind = kindOfNext(own, incrementals);
    const ask: BackupAsk = { kind, parent: kind === 'FULL' ? '' : own[0]!.id, bytesPerSecond, offline: false };
    return { archive: scheduledArchive(name, dueMs), keyspaces, ask: { ...ask } };
  }
  const newest = archives.filter(({ kind, problem }) => problem === '' && kind !== ArchiveKind.ARCHIVE_KIND_LOG).sort((a, b) => b.cutAtMs - a.cutAtMs)[0];
  if (newest === undefined) return undefined;
  const verify: VerifyAsk = { bytesOnly: false };
  const drill: DrillAsk = { replicationFactor: 1, bytesPerSecond };
  return { archive: newest.id, keyspaces: action === 'DRILL' ? keyspaces : [], ask: action === 'DRILL' ? { ...drill } : { ...verify } };
}

/** `archives`: undefined where they cannot be listed. */
export function viewOf(schedule: ScheduleRecord, archives: readonly ArchiveInfo[] | undefined, nowMs: number, times = new CronTimes(schedule.cron)): ScheduleView {
  const own = archivesOf(schedule.name, archives ?? []);
  const ageMsMax = schedule.ageMsMax || 2 * times.longestMs(nowMs);
  const doneMs = schedule.action === 'BACKUP' ? (own[0]?.cutAtMs ?? 0) : schedule.succeededMs;
  const sinceMs = doneMs || schedule.createdMs;
  return { schedule, nextMs: schedule.isPaused ? undefined : times.next(nowMs), archives: own, isListed: archives !== undefined, doneMs, isOverdue: nowMs - sinceMs > ageMsMax || doneMs > nowMs + CLOCK_SLACK_MS };
}

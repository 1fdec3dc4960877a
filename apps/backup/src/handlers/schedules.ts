import { ScheduleAction as ScheduleActionMessage, type BackupRetention, type BackupSchedule, type BackupScheduleState, type DeleteBackupScheduleRequest, type DeleteBackupScheduleResponse, type ListBackupSchedulesResponse, type PutBackupScheduleRequest, type PutBackupScheduleResponse } from '@atoll/contracts/atoll/v1/backup';
import type { RetentionPolicy } from '@atoll/core-archive';
import { invalidArgument, isAtollError } from '@atoll/core-errors';
import type { ArchiveList } from '../jobs/archive-list.ts';
import { checkKeyspaceNames } from '../jobs/job-desk.ts';
import { CronTimes } from '../schedules/cron-times.ts';
import type { ScheduleAction, ScheduleRecord } from '../schedules/schedule-record.ts';
import { scheduleNotFound, type ScheduleStore } from '../schedules/schedule-store.ts';
import { viewOf, type ScheduleView } from '../schedules/scheduler.ts';

const ACTIONS: Readonly<Record<number, ScheduleAction>> = {
  [ScheduleActionMessage.SCHEDULE_ACTION_UNSPECIFIED]: 'BACKUP',
  [ScheduleActionMessage.SCHEDULE_ACTION_BACKUP]: 'BACKUP',
  [ScheduleActionMessage.SCHEDULE_ACTION_VERIFY]: 'VERIFY',
  [ScheduleActionMessage.SCHEDULE_ACTION_DRILL]: 'DRILL',
};
const NAME = /^[a-z0-9][a-z0-9-]{0,47}$/;
const INCREMENTALS_MAX = 1000;
const AGE_MS_MIN = 60_000;
const KEPT_MAX = 10_000;

export interface ScheduleDesk {
  readonly schedules: ScheduleStore;
  readonly archives: Pick<ArchiveList, 'list'>;
}

export async function putBackupSchedule({ schedules, archives }: ScheduleDesk, { schedule }: PutBackupScheduleRequest): Promise<PutBackupScheduleResponse> {
  if (schedule === undefined) throw invalidArgument('schedule', 'is missing');
  const { name, cron, incrementals, keyspaces, bytesPerSecond, retention, paused, ageMsMax } = schedule;
  const action = ACTIONS[schedule.action];
  if (action === undefined) throw invalidArgument('schedule.action', `${schedule.action} is nothing that begins by itself`);
  if (!NAME.test(name)) throw invalidArgument('schedule.name', 'must be 1 to 48 characters of a-z, 0-9 and -, and not begin with -');
  checkCron(cron);
  if (incrementals > INCREMENTALS_MAX) throw invalidArgument('schedule.incrementals', `must be 0 to ${INCREMENTALS_MAX}`);
  checkKeyspaceNames('schedule.keyspaces', keyspaces);
  if (ageMsMax !== 0 && ageMsMax < AGE_MS_MIN) throw invalidArgument('schedule.age_ms_max', `must be 0 or at least ${AGE_MS_MIN}`);
  const policy = toPolicy(retention);
  if (action !== 'BACKUP' && (incrementals !== 0 || Object.values(policy).some((rule) => rule !== undefined))) throw invalidArgument('schedule.action', 'is no backup: incrementals and retention belong to one');
  if (action === 'VERIFY' && (keyspaces.length > 0 || bytesPerSecond !== 0)) throw invalidArgument('schedule.action', 'is a check of whole archives: neither keyspaces nor bytes_per_second belong to it');
  const asked = { name, action, cron, incrementals, keyspaces, bytesPerSecond, retention: policy, isPaused: paused, ageMsMax };
  const nowMs = Date.now();
  const stored = await schedules.change(name, (before) => ({ createdMs: nowMs, firedMs: 0, lastJob: '', succeededMs: 0, problem: '', ...before, ...asked }));
  return { state: toState(viewOf(stored!, (await tryList(archives)).archives, nowMs), '') };
}

export async function listBackupSchedules({ schedules, archives }: ScheduleDesk): Promise<ListBackupSchedulesResponse> {
  const all = await schedules.list();
  const { archives: present, problem } = all.length === 0 ? { archives: [], problem: '' } : await tryList(archives);
  const nowMs = Date.now();
  return { schedules: all.map((schedule) => toState(viewOf(schedule, present, nowMs), problem)) };
}

export async function deleteBackupSchedule({ schedules }: ScheduleDesk, { name }: DeleteBackupScheduleRequest): Promise<DeleteBackupScheduleResponse> {
  if (name === '') throw invalidArgument('name', 'is missing');
  if (!NAME.test(name)) throw scheduleNotFound(name);
  await schedules.change(name, (schedule) => {
    if (schedule === undefined) throw scheduleNotFound(name);
    return undefined;
  });
  return {};
}

function checkCron(cron: string): void {
  try {
    CronTimes.check(cron, Date.now());
  } catch (error) {
    throw invalidArgument('schedule.cron', `must be five fields (minute, hour, day of month, month, day of week), in UTC: ${(error as Error).message.replace(/^CronPattern: /, '')}`);
  }
}

function toPolicy(retention: BackupRetention | undefined): RetentionPolicy {
  if (retention === undefined) return {};
  const { count, ageMs, days, weeks, months } = retention;
  for (const [field, value] of Object.entries({ count, days, weeks, months })) if (value > KEPT_MAX) throw invalidArgument(`schedule.retention.${field}`, `must be at most ${KEPT_MAX}`);
  const has = (value: number): number | undefined => (value === 0 ? undefined : value);
  return {
    count: has(count),
    ageMsMax: has(ageMs),
    generations: days + weeks + months === 0 ? undefined : { days, weeks, months },
  };
}

/** A repository that is away is told of, and keeps nobody from seeing the schedules. */
async function tryList(archives: ScheduleDesk['archives']): Promise<{ readonly archives: Awaited<ReturnType<ArchiveList['list']>>; readonly problem: string }> {
  try {
    return { archives: await archives.list(), problem: '' };
  } catch (error) {
    if (!isAtollError(error)) throw error;
    return { archives: [], problem: error.message };
  }
}

function toState({ schedule, nextMs, archives, doneMs, isOverdue }: ScheduleView, problem: string): BackupScheduleState {
  return {
    schedule: toMessage(schedule),
    nextAtMs: nextMs ?? 0,
    lastAtMs: schedule.firedMs,
    lastJob: schedule.lastJob,
    newestCutAtMs: doneMs,
    archives: archives.length,
    overdue: problem === '' && isOverdue,
    problem: problem || schedule.problem,
  };
}

function toMessage({ name, action, cron, incrementals, keyspaces, bytesPerSecond, retention, isPaused, ageMsMax }: ScheduleRecord): BackupSchedule {
  const { count = 0, ageMsMax: ageMs = 0, generations: { days = 0, weeks = 0, months = 0 } = {} } = retention;
  return { name, cron, incrementals, keyspaces: [...keyspaces], bytesPerSecond, retention: { count, ageMs, days, weeks, months }, paused: isPaused, ageMsMax, action: ScheduleActionMessage[`SCHEDULE_ACTION_${action}`] };
}

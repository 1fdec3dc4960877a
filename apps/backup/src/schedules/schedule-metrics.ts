import type { Metrics } from '@atoll/platform-telemetry';
import type { Scheduler, ScheduleView } from './scheduler.ts';

/** Told by the service on duty alone. There are at most SCHEDULES_MAX schedules. */
export function addScheduleMetrics(metrics: Pick<Metrics, 'gaugeFamily'>, scheduler: Pick<Scheduler, 'views'>): void {
  const each = (value: (view: ScheduleView) => number, isTold = (_view: ScheduleView) => true) => () => scheduler.views.filter(isTold).map((view) => ({ labels: { schedule: view.schedule.name }, value: value(view) }));
  const isListed = (view: ScheduleView): boolean => view.isListed;
  metrics.gaugeFamily('atoll_backup_schedule_newest_cut_timestamp_seconds', { description: 'Moment of the newest archive of a schedule, or end of its last check or drill that succeeded, in seconds since the Unix epoch; 0: there is none.' }, each(({ doneMs }) => doneMs / 1000, isListed));
  metrics.gaugeFamily('atoll_backup_schedule_overdue', { description: '1 while the newest archive of a schedule, or its last success, is older than it should be; while the repository cannot be listed no archive counts.' }, each(({ isOverdue }) => (isOverdue ? 1 : 0)));
  metrics.gaugeFamily('atoll_backup_schedule_archives', { description: 'Archives of a schedule that can be read.' }, each(({ archives }) => archives.length, isListed));
}

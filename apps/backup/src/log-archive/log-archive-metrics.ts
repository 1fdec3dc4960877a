import type { Metrics } from '@atoll/platform-telemetry';
import type { LogArchiver } from './log-archiver.ts';

/** Told by the service on duty alone, and only where logs are archived. */
export function addLogArchiveMetrics(metrics: Pick<Metrics, 'gaugeFamily'>, archiver: Pick<LogArchiver, 'state'>, isOnDuty: () => boolean): void {
  const told = (read: (state: LogArchiver['state']) => number | undefined) => () => {
    const value = archiver.state.isOn && isOnDuty() ? read(archiver.state) : undefined;
    return value === undefined ? [] : [{ labels: {}, value }];
  };
  metrics.gaugeFamily('atoll_backup_recovery_point_lag_seconds', { unit: 's', description: 'How much of what was written last would be lost with the cluster: time since the point to which a restore leads.' }, told(({ recoveryPointMs }) => recoveryPointMs && Math.max(0, Date.now() - recoveryPointMs) / 1000));
  metrics.gaugeFamily('atoll_backup_log_detached_partitions', { description: 'Partitions whose archived log goes on from no backup: a restore to a moment needs a newer one.' }, told(({ detached }) => detached));
}

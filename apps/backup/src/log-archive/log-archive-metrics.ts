import type { Metrics } from '@atoll/platform-telemetry';
import type { KeyspaceLogs, LogArchiver } from './log-archiver.ts';

/** Told by the service on duty alone, and only where logs are archived. */
export function addLogArchiveMetrics(metrics: Pick<Metrics, 'gaugeFamily'>, archiver: Pick<LogArchiver, 'state'>): void {
  const told = (read: (logs: KeyspaceLogs) => number | undefined) => () => {
    const { isOn, keyspaces } = archiver.state;
    return (isOn ? keyspaces : []).flatMap((logs) => {
      const value = read(logs);
      return value === undefined ? [] : [{ labels: { keyspace: logs.keyspace }, value }];
    });
  };
  metrics.gaugeFamily('atoll_backup_recovery_point_lag_seconds', { unit: 's', description: 'How much of what was written last to a keyspace would be lost with the cluster: time since the point to which a restore leads.' }, told(({ lagMs }) => lagMs && lagMs / 1000));
  metrics.gaugeFamily('atoll_backup_log_detached_partitions', { description: 'Partitions of a keyspace whose archived log goes on from no backup: a restore to a moment needs a newer one.' }, told(({ detached }) => detached));
}

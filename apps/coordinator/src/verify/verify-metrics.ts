import { RangeState, type PartitionComparison } from '@atoll/contracts/atoll/v1/admin';
import type { Metrics } from '@atoll/platform-telemetry';

export interface VerifyMetrics {
  verified(report: PartitionComparison): void;
}

const RESULT: Readonly<Record<RangeState, string>> = {
  [RangeState.RANGE_STATE_UNSPECIFIED]: 'different',
  [RangeState.RANGE_STATE_REPAIRED]: 'repaired',
  [RangeState.RANGE_STATE_DIFFERENT]: 'different',
  [RangeState.RANGE_STATE_CONTESTED]: 'contested',
};

export function createVerifyMetrics(metrics: Pick<Metrics, 'counter' | 'counterFamily'>): VerifyMetrics {
  const ranges = metrics.counterFamily('atoll_coordinator_verified_ranges_total', ['result'], {
    description: 'Sub-ranges of followers that were compared with their leaders: equal, repaired, different, contested.',
  });
  const failures = metrics.counter('atoll_coordinator_verify_failures_total', { description: 'Replicas and partitions that could not be compared.' });
  const bytes = metrics.counter('atoll_coordinator_repaired_bytes_total', { description: 'Bytes of keys and values that repairs installed again.', unit: 'By' });
  return {
    verified: (report) => {
      if (report.problem !== '') failures.add();
      for (const replica of report.replicas) {
        if (replica.problem !== '') failures.add();
        ranges.with('equal').add(replica.equal);
        for (const range of replica.ranges) {
          ranges.with(RESULT[range.state]).add();
          bytes.add(range.bytes);
        }
      }
    },
  };
}

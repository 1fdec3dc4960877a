import type { GetLogArchivingResponse } from '@atoll/contracts/atoll/v1/backup';
import type { LogArchivingState } from '../log-archive/log-archiver.ts';

export function toLogArchiving({ isOn, keyspaces, gaps, problem }: LogArchivingState, isOnDuty: boolean): GetLogArchivingResponse {
  return { on: isOn, onDuty: isOnDuty, keyspaces: keyspaces.map(({ keyspace, recoveryPointMs = 0, detached }) => ({ keyspace, recoveryPointMs, detachedPartitions: detached })), gaps, problem };
}

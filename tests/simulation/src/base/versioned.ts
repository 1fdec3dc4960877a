import type { PartitionRecord, VersionedRecord } from '@atoll/core-membership';
import type { Stored } from './sim-etcd.ts';

/** What stands at the key of a partition. */
export const toVersioned = ({ value, modRevision }: Stored): VersionedRecord => ({ record: value as PartitionRecord, modRevision });

import { RestorePolicy, type RestoreBackupRequest } from '@atoll/contracts/atoll/v1/backup';
import { invalidArgument, isAtollError } from '@atoll/core-errors';
import { checkKeyspaceName } from '@atoll/core-membership';
import { checkPartitionCount } from '@atoll/core-placement';
import { KEY_BYTES_MAX, REPLICATION_FACTOR_MAX } from '@atoll/core-runtime';
import { checkArchiveId } from '../handlers/archives.ts';
import { checkKeyspaceNames } from '../jobs/job-desk.ts';

/** Bytes of a prefix: the record of a job has to stay small. */
const PREFIX_BYTES_MAX = 1024;

export type Policy = 'FAIL' | 'REPLACE' | 'KEEP_NEWER';

/** What a restore was asked for, beside its archive and keyspaces: `ask` of its job. 0 and empty: as it was. */
export interface RestoreAsk {
  readonly target: string;
  /** Base64. */
  readonly prefix: string;
  readonly atMs?: number | undefined;
  readonly exact: boolean;
  readonly partitionCount: number;
  readonly replicationFactor: number;
  readonly minInSync: number;
  readonly policy: Policy;
  readonly bytesPerSecond: number;
  /** The keyspaces get names of the job's own, whatever is there: they are for practice. */
  readonly isScratch?: boolean | undefined;
}

const POLICIES: Readonly<Record<number, Policy>> = {
  [RestorePolicy.RESTORE_POLICY_UNSPECIFIED]: 'FAIL',
  [RestorePolicy.RESTORE_POLICY_FAIL]: 'FAIL',
  [RestorePolicy.RESTORE_POLICY_REPLACE]: 'REPLACE',
  [RestorePolicy.RESTORE_POLICY_KEEP_NEWER]: 'KEEP_NEWER',
};

/** Throws INVALID_ARGUMENT that names the field. */
export function toRestoreAsk(request: RestoreBackupRequest): RestoreAsk {
  const { archive, keyspaces, target, prefix, atMs, exact, partitionCount, replicationFactor, minInSync, bytesPerSecond } = request;
  if (archive !== '') checkArchiveId('archive', archive);
  else if (atMs === undefined) throw invalidArgument('archive', 'is missing: name one, or a moment by at_ms');
  checkKeyspaceNames('keyspaces', keyspaces);
  if (target !== '' && keyspaces.length !== 1) throw invalidArgument('target', 'is the name of one keyspace: name the one that it is made from');
  if (target !== '') named('target', () => checkKeyspaceName(target));
  if (prefix.length > Math.min(PREFIX_BYTES_MAX, KEY_BYTES_MAX)) throw invalidArgument('prefix', `has ${prefix.length} bytes, at most ${PREFIX_BYTES_MAX} are allowed`);
  if (atMs !== undefined && !(atMs > 0 && Number.isFinite(atMs))) throw invalidArgument('at_ms', 'must be milliseconds since 1970');
  if (exact && atMs === undefined) throw invalidArgument('exact', 'belongs to a moment: at_ms is missing');
  if (partitionCount !== 0) named('partition_count', () => checkPartitionCount(partitionCount));
  if (replicationFactor > REPLICATION_FACTOR_MAX) throw invalidArgument('replication_factor', `must be at most ${REPLICATION_FACTOR_MAX}, is ${replicationFactor}`);
  const policy = POLICIES[request.policy];
  if (policy === undefined) throw invalidArgument('policy', `${request.policy} is no policy that this service knows`);
  if (policy === 'REPLACE' && prefix.length > 0) throw invalidArgument('policy', 'REPLACE would remove the keys that do not begin with the prefix: restore to another name');
  if (policy === 'KEEP_NEWER') {
    const shape = Object.entries({ partition_count: partitionCount, replication_factor: replicationFactor, min_in_sync: minInSync }).find(([, value]) => value !== 0);
    if (shape !== undefined) throw invalidArgument(shape[0], 'does not go with KEEP_NEWER, which leaves keyspaces that are there as they are');
  }
  return { target, prefix: prefix.toString('base64'), atMs, exact, partitionCount, replicationFactor, minInSync, policy, bytesPerSecond };
}

function named(field: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (!isAtollError(error)) throw error;
    throw invalidArgument(field, error.message.replace(/^[\w.]+: /, ''));
  }
}

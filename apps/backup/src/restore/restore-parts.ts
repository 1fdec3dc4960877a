// What a restore keeps of each keyspace in the record of its job, and how that is brought about in the cluster.
import { createHash } from 'node:crypto';
import { MigrationMethod, MigrationState, type Migration, type PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import { AtollError } from '@atoll/core-errors';
import type { NodeMemory } from '@atoll/core-migration';
import { KEYSPACE_NAME_MAX } from '@atoll/core-runtime';
import type { JobRun } from '../jobs/job-kind.ts';
import { patiently } from '../jobs/patience.ts';
import { mayPassInCluster, type ClusterCalls } from '../jobs/cluster-calls.ts';
import { rest } from '../jobs/rest.ts';
import { NO_MERGES, type PartMerge } from './merge/merge-progress.ts';
import { requireWritable } from './merge/merge-target.ts';
import type { RestoreAsk } from './restore-ask.ts';
import { RoomWait } from './room-wait.ts';

/** One keyspace of a restore. */
export interface RestorePart {
  /** In the archive. */
  readonly source: string;
  /** Under which clients will find it. */
  readonly name: string;
  /** Its own name: another one where it takes the place of one that is there. */
  readonly keyspace: string;
  /** That keyspace's own name; empty: there is none. */
  readonly takesPlaceOf: string;
  /** It was frozen for this restore. */
  readonly isFrozen: boolean;
  /** A migration that could not be gone on with was followed by another one, so often. */
  readonly attempt: number;
  readonly isDone: boolean;
  readonly comparedEntries: number;
  readonly entries: number;
  readonly partitions: number;
  /** The keyspace is there and is kept: entries go into it, and no migration is made (KEEP_NEWER). */
  readonly merge?: PartMerge | undefined;
}

const POLL_MS = 300;
/** Nobody writes to an archive: what is waited for is the coordinator alone. */
const MAX_PAUSE_MS = 10_000;

const shortHash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 8);

/** Of the source that is served for it: another one for each job. */
export const sourceNameOf = (job: string, index: number): string => `restore-${shortHash(job)}-${index}`;
export const migrationOf = (job: string, index: number, attempt: number): string => `restore-${shortHash(job)}-${index}${attempt === 0 ? '' : `-${attempt}`}`;

/** `drill-3fa80c1b-orders`: of a keyspace for practice. */
export const scratchName = (job: string, source: string): string => `drill-${shortHash(job)}-${source}`.slice(0, KEYSPACE_NAME_MAX);

/**
 * `archivedId`: of the keyspace in the archive, where that is of this cluster. Throws KEYSPACE_EXISTS where the policy wants none of the
 * name, and there is one that is not empty; of one that is to be kept what `requireWritable` throws.
 */
export async function newPart(calls: ClusterCalls, job: string, { source, archivedId }: { readonly source: string; readonly archivedId: string | undefined }, { target, policy, isScratch }: RestoreAsk): Promise<RestorePart> {
  const name = isScratch === true ? scratchName(job, source) : target || source;
  const present = calls.keyspace(name);
  if (present !== undefined && policy === 'KEEP_NEWER') {
    requireWritable(present);
    const merge: PartMerge = { keyspaceId: present.id, partitions: present.partitionCount, isArchived: present.id === archivedId, notes: NO_MERGES };
    return { ...NEW_PART, source, name, keyspace: present.name, merge };
  }
  if (present?.copyOf !== undefined) throw exists(name, 'is itself being filled from somewhere else');
  if (present !== undefined && policy === 'FAIL') await requireEmpty(calls, name);
  const keyspace = present === undefined ? name : `${name.slice(0, KEYSPACE_NAME_MAX - 9)}-${shortHash(job)}`;
  return { ...NEW_PART, source, name, keyspace, takesPlaceOf: present?.name ?? '' };
}

const NEW_PART = { takesPlaceOf: '', isFrozen: false, attempt: 0, isDone: false, comparedEntries: 0, entries: 0, partitions: 0 };

export async function requireEmpty(calls: ClusterCalls, name: string): Promise<void> {
  const present = calls.keyspace(name);
  const entries = present === undefined ? 0 : await calls.entriesOf(present);
  if (entries > 0) throw exists(name, `is there and has ${entries} entries: restore to another name, or with the policy REPLACE or KEEP_NEWER`);
}

const exists = (name: string, why: string): AtollError => new AtollError('KEYSPACE_EXISTS', `keyspace ${name} ${why}`, { metadata: { keyspace: name } });

export function migrationRequest(id: string, sourceName: string, routers: readonly string[], part: RestorePart, ask: RestoreAsk) {
  return {
    id,
    method: MigrationMethod.MIGRATION_METHOD_COPY,
    keyspace: sourceName,
    partitions: [],
    allKeyspaces: false,
    from: '',
    to: '',
    bytesPerSecond: ask.bytesPerSecond,
    fullVerify: false,
    dryRun: false,
    shards: 0,
    target: { name: part.keyspace, partitionCount: ask.partitionCount, replicationFactor: ask.replicationFactor, minInSync: ask.minInSync, takesPlaceOf: part.takesPlaceOf || undefined },
    sourceRouters: [...routers],
    tokenFrom: 0n,
    tokenTo: 0n,
  };
}

export interface PartRun {
  readonly run: JobRun;
  readonly calls: ClusterCalls;
  readonly migration: string;
  /** Why the archive cannot be read on; undefined while it can. */
  readonly failure: () => AtollError | undefined;
  readonly onSeen: (migration: Migration) => void;
  /** Of the nodes that it is restored to. Rejects for nothing but a bug, and the reason of the run's signal. */
  readonly memory: () => Promise<ReadonlyMap<string, NodeMemory>>;
  /** Default: ROOM_PATIENCE_MS. */
  readonly roomPatienceMs?: number;
}

/** Resolves when everything is there and was found equal. Throws why it cannot be. */
export async function untilFilled({ run, calls, migration: id, failure, onSeen, memory, roomPatienceMs }: PartRun): Promise<void> {
  const wait = new RoomWait(roomPatienceMs);
  for (;;) {
    const { migration, partitions } = await look(run, calls, id);
    onSeen(migration);
    const failed = failure();
    if (failed !== undefined) throw failed;
    const { state, copy } = migration;
    if (state === MigrationState.MIGRATION_STATE_SUCCEEDED || state === MigrationState.MIGRATION_STATE_CUTTING_OVER) return;
    if (state === MigrationState.MIGRATION_STATE_CANCELLED || state === MigrationState.MIGRATION_STATE_CANCELLING) throw new AtollError('CANCELLED', `migration ${id} was cancelled: ${migration.problem}`);
    const room = wait.look(partitions, performance.now());
    if (room.isOver) throw wait.failure(copy?.target ?? id, room.problem, migration, await memory());
    run.waitsFor(state === MigrationState.MIGRATION_STATE_PAUSED ? `migration ${id} is paused` : migration.problem || room.problem);
    // Whatever problem stands in its record: a cut-over that was given up, when its coordinator died, leaves one until the next attempt.
    if (copy !== undefined && copy.following && copy.comparedEntries !== undefined) {
      if (copy.differing > 0) throw new AtollError('ARCHIVE_DAMAGED', `${copy.differing} sub-ranges of ${copy.target} are not as in the archive: does it evict?`);
      return;
    }
    await rest(POLL_MS, run.signal);
  }
}

/** Resolves when the keyspace takes writes. Throws when it cannot. */
export async function cutOver({ run, calls, migration: id, failure, onSeen }: PartRun): Promise<Migration> {
  for (;;) {
    const { migration: seen } = await look(run, calls, id);
    onSeen(seen);
    if (seen.state === MigrationState.MIGRATION_STATE_SUCCEEDED) return seen;
    const failed = failure();
    if (failed !== undefined) throw failed;
    const isRefused = (error: unknown): boolean => mayPassInCluster(error) || (error instanceof AtollError && error.reason === 'CUT_OVER_REFUSED');
    const migration = await patiently(run, () => calls.cutOver(id, MAX_PAUSE_MS), { isPassing: isRefused });
    if (migration.state === MigrationState.MIGRATION_STATE_SUCCEEDED) return migration;
    run.waitsFor(migration.problem);
    await rest(POLL_MS, run.signal);
  }
}

/** Resolves when the migration is gone with all that it made; one that succeeded stays. Answers whether it is gone. */
export async function cancelPart(run: Pick<JobRun, 'signal' | 'waitsFor'>, calls: ClusterCalls, id: string): Promise<boolean> {
  for (;;) {
    const found = await patiently(run, () => calls.get(id), { isPassing: mayPassInCluster });
    const state = found?.migration?.state;
    if (state === MigrationState.MIGRATION_STATE_SUCCEEDED) return false;
    if (state === undefined || state === MigrationState.MIGRATION_STATE_CANCELLED) return true;
    // In the middle of a cut-over it is refused: that ends by itself.
    const isPassing = (error: unknown): boolean => mayPassInCluster(error) || (error instanceof AtollError && error.reason === 'MIGRATION_CONFLICT');
    if (state !== MigrationState.MIGRATION_STATE_CANCELLING) await patiently(run, () => calls.cancel(id), { isPassing, patienceMs: POLL_MS }).catch((error: unknown) => {
      if (!isPassing(error)) throw error;
    });
    await rest(POLL_MS, run.signal);
  }
}

async function look(run: JobRun, calls: ClusterCalls, id: string): Promise<{ readonly migration: Migration; readonly partitions: readonly PartitionMigration[] }> {
  const found = await patiently(run, () => calls.get(id), { isPassing: mayPassInCluster });
  if (found?.migration === undefined) throw new AtollError('MIGRATION_NOT_FOUND', `migration ${id} is gone: the records of the cluster were lost`, { metadata: { migration: id } });
  return { migration: found.migration, partitions: found.partitions };
}

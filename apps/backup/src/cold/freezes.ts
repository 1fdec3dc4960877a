// Backups of keyspaces that take no writes meanwhile. A freeze carries the name of its job, so that whoever goes on with the job, or
// takes it back, ends this one and no operator's.
import { AtollError, isAtollError } from '@atoll/core-errors';
import type { KeyspaceSpec } from '@atoll/core-membership';
import type { JobRun } from '../jobs/job-kind.ts';
import { patiently } from '../jobs/patience.ts';
import { ClusterCalls, mayPassInCluster } from '../jobs/cluster-calls.ts';

const noteOf = (run: JobRun): string => `backup ${run.job.id}`;

/** Resolves when nothing is written to them any more. One that an operator froze stays so afterwards. */
export function freezeAll(run: JobRun, keyspaces: readonly KeyspaceSpec[]): Promise<void> {
  return forEach(run, keyspaces, (calls, name) => calls.freeze(name, noteOf(run)));
}

/** @throws BACKUP_JOB_CONFLICT: one of them takes writes, since an operator wanted it so; nobody overrules that */
export function requireFrozen(run: JobRun, keyspaces: readonly KeyspaceSpec[]): Promise<void> {
  return forEach(run, keyspaces, async (calls, name) => {
    if ((await calls.freezeNote(name)) !== undefined) return;
    throw new AtollError('BACKUP_JOB_CONFLICT', `keyspace ${name} was unfrozen before its offline backup was done: ask for another one`, { metadata: { keyspace: name } });
  });
}

/** Those that this job froze, in this process or an earlier one. */
export function thawAll(run: JobRun, keyspaces: readonly KeyspaceSpec[]): Promise<void> {
  return forEach(run, keyspaces, async (calls, name) => {
    try {
      if ((await calls.freezeNote(name)) === noteOf(run)) await calls.unfreeze(name);
    } catch (error) {
      if (!isAtollError(error) || error.reason !== 'KEYSPACE_NOT_FOUND') throw error;
    }
  });
}

/** A cut-over that is under way is waited for. */
async function forEach(run: JobRun, keyspaces: readonly KeyspaceSpec[], act: (calls: ClusterCalls, name: string) => Promise<void>): Promise<void> {
  const isPassing = (error: unknown): boolean => mayPassInCluster(error) || (isAtollError(error) && error.reason === 'MIGRATION_CONFLICT');
  const calls = new ClusterCalls(run.duty.view, run.signal);
  try {
    for (const { name } of keyspaces) await patiently(run, () => act(calls, name), { isPassing });
  } finally {
    calls.close();
  }
}

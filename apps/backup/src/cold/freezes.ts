// Backups of keyspaces that take no writes meanwhile. A freeze carries the name of its job, so that whoever goes on with the job, or
// takes it back, ends this one and no operator's.
import { credentials } from '@grpc/grpc-js';
import { AdminClient } from '@atoll/contracts/atoll/v1/admin';
import { AtollError, isAtollError } from '@atoll/core-errors';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import type { JobRun } from '../jobs/job-kind.ts';
import { mayPass, patiently } from '../jobs/patience.ts';

const DEADLINE_MS = 30_000;

const noteOf = (run: JobRun): string => `backup ${run.job.id}`;

/** Resolves when nothing is written to them any more. One that an operator froze stays so afterwards. */
export async function freezeAll(run: JobRun, keyspaces: readonly KeyspaceSpec[]): Promise<void> {
  for (const { name } of keyspaces) {
    await atCoordinator(run, (admin) => callUnary(admin, 'freezeKeyspace', { name, note: noteOf(run) }, { deadlineMs: DEADLINE_MS, signal: run.signal }));
  }
}

/** Those that this job froze, in this process or an earlier one. */
export async function thawAll(run: JobRun, keyspaces: readonly KeyspaceSpec[]): Promise<void> {
  for (const { name } of keyspaces) {
    try {
      await atCoordinator(run, async (admin) => {
        const { keyspace } = await callUnary(admin, 'getKeyspace', { name }, { deadlineMs: DEADLINE_MS, signal: run.signal });
        if (keyspace?.freeze?.note === noteOf(run)) await callUnary(admin, 'unfreezeKeyspace', { name, reopenMoved: false }, { deadlineMs: DEADLINE_MS, signal: run.signal });
      });
    } catch (error) {
      if (!isAtollError(error) || error.reason !== 'KEYSPACE_NOT_FOUND') throw error;
    }
  }
}

/** At whoever is elected; a cut-over that is under way is waited for. */
function atCoordinator<T>(run: JobRun, act: (admin: AdminClient) => Promise<T>): Promise<T> {
  const isPassing = (error: unknown): boolean => mayPass(error) || (isAtollError(error) && error.reason === 'MIGRATION_CONFLICT');
  return patiently(
    run,
    async () => {
      const address = run.duty.view.coordinator()?.address;
      if (address === undefined) throw new AtollError('NOT_COORDINATOR', 'no coordinator is elected');
      const admin = new AdminClient(address, credentials.createInsecure(), createChannelOptions());
      try {
        return await act(admin);
      } finally {
        admin.close();
      }
    },
    { isPassing },
  );
}

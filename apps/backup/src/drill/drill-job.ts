// A restore for practice: an archive is trusted because it was read back and restored, not because it was written.
//
//   READ            every chunk, every digest, as VERIFY
//   PLAN to CUT_OVER  as RESTORE, into keyspaces of the job's own name, which are compared with what was read
//   REMOVE          these keyspaces
import type { DrillResult, RestoreResult, VerifyResult } from '@atoll/contracts/atoll/v1/backup';
import { AtollError, isAtollError } from '@atoll/core-errors';
import type { Repository } from '@atoll/platform-repository';
import type { JobKind, JobOutcome, JobRun } from '../jobs/job-kind.ts';
import type { JobNotes, JobRecord } from '../jobs/job-record.ts';
import { patiently } from '../jobs/patience.ts';
import { ClusterCalls, mayPassInCluster } from '../jobs/cluster-calls.ts';
import type { RestoreAsk } from '../restore/restore-ask.ts';
import type { RestorePart } from '../restore/restore-parts.ts';
import type { VerifyAsk } from '../verify/verify-job.ts';
import { newestCut, readManifests } from '../repository/manifest-reader.ts';
import { unreadableText, type UnreadableManifests } from '../repository/unreadable-manifests.ts';
import { SubRun } from './sub-run.ts';

export interface DrillAsk {
  readonly replicationFactor: number;
  /** 0: no bound. */
  readonly bytesPerSecond: number;
}

/** `checkpoint` of the job. */
interface DrillNotes {
  readonly archive?: string;
  /** Result of the check, once it succeeded. */
  readonly verified?: JobNotes;
  /** Of the restore. */
  readonly restore?: { readonly parts?: readonly RestorePart[] };
}

export class DrillJob implements JobKind {
  readonly kind = 'DRILL';
  readonly #restore: JobKind;
  readonly #verify: JobKind;
  readonly #unreadable: Pick<UnreadableManifests, 'note'>;

  constructor({ restore, verify, unreadable }: { readonly restore: JobKind; readonly verify: JobKind; readonly unreadable: Pick<UnreadableManifests, 'note'> }) {
    this.#unreadable = unreadable;
    this.#restore = restore;
    this.#verify = verify;
  }

  async run(run: JobRun): Promise<JobOutcome> {
    const archive = notesOf(run).archive ?? (run.job.archive || (await patiently(run, async () => newestOf(await run.duty.repository(), this.#unreadable))));
    if (notesOf(run).archive === undefined) await patiently(run, () => run.checkpoint({ ...run.job.checkpoint, archive }));
    if (notesOf(run).verified === undefined) {
      const ask: VerifyAsk = { bytesOnly: false };
      const { result = {} } = await this.#verify.run(new SubRun(run, 'verify', { archive, ask: { ...ask } }));
      await patiently(run, () => run.checkpoint({ ...run.job.checkpoint, verified: result }));
    }
    const restored = await this.#restore.run(this.#restoreRun(run, archive));
    await removeScratch(run);
    const verify = notesOf(run).verified as unknown as VerifyResult;
    const restore = restored.result as unknown as RestoreResult;
    const result: DrillResult = { archive, verify, restore, tookMs: Math.max(0, Date.now() - run.job.startedMs) };
    const entries = restore.keyspaces.reduce((sum, keyspace) => sum + keyspace.entries, 0);
    const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
    return { summary: `${archive} was read back (${verify.chunks} chunks, ${seconds(verify.tookMs)}) and restored (${entries} entries, ${seconds(restore.tookMs)}), all compared`, result: { ...result } };
  }

  async takeBack(run: JobRun): Promise<void> {
    // What took writes already is nobody's: it is for practice, and removed like the rest.
    await this.#restore.takeBack?.(this.#restoreRun(run, notesOf(run).archive ?? run.job.archive)).catch((error: unknown) => {
      if (!isAtollError(error) || error.reason !== 'MIGRATION_CONFLICT') throw error;
    });
    await removeScratch(run);
  }

  #restoreRun(run: JobRun, archive: string): SubRun {
    const { replicationFactor, bytesPerSecond } = run.job.ask as unknown as DrillAsk;
    const ask: RestoreAsk = { target: '', prefix: '', exact: false, partitionCount: 0, replicationFactor, minInSync: 1, policy: 'FAIL', bytesPerSecond, isScratch: true };
    const changes: Partial<JobRecord> = { archive, ask: { ...ask }, startedMs: Date.now() };
    return new SubRun(run, 'restore', changes);
  }
}

const notesOf = (run: JobRun): DrillNotes => run.job.checkpoint;

/** Of those that can be read. @throws ARCHIVE_NOT_FOUND, REPOSITORY_* */
export async function newestOf(repository: Repository, unreadable: Pick<UnreadableManifests, 'note'>): Promise<string> {
  const { manifests, unreadable: found } = await readManifests(repository);
  unreadable.note(found);
  const newest = newestCut(manifests);
  if (newest === undefined) throw new AtollError('ARCHIVE_NOT_FOUND', `there is no archive yet${unreadableText(found)}`);
  return newest.id;
}

async function removeScratch(run: JobRun): Promise<void> {
  const names = (notesOf(run).restore?.parts ?? []).map(({ keyspace }) => keyspace);
  if (names.length === 0) return;
  await run.enter('REMOVE');
  const calls = new ClusterCalls(run.duty.view, run.signal);
  try {
    for (const name of names) {
      // A cut-over that is about to end keeps it for a moment.
      const isPassing = (error: unknown): boolean => mayPassInCluster(error) || (isAtollError(error) && error.reason === 'MIGRATION_CONFLICT');
      await patiently(run, () => calls.remove(name), { isPassing });
    }
  } finally {
    calls.close();
  }
}

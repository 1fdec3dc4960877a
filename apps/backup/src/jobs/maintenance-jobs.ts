// Jobs that take away: whole archives, and chunks that no archive needs.
import { AtollError } from '@atoll/core-errors';
import { collectGarbage, removeArchives } from '@atoll/platform-repository';
import type { JobKind, JobOutcome, JobRun } from './job-kind.ts';
import { patiently } from './patience.ts';

/** Of a collection whose process died: see CollectOptions. */
const ABANDONED_AFTER_MS = 24 * 3_600_000;
export const CHUNK_AGE_MS_DEFAULT = 3_600_000;

/** `archives`: at least one. */
export interface DeleteAsk {
  readonly archives: readonly string[];
}

export interface CollectAsk {
  readonly besideWriters: boolean;
  readonly chunkAgeMsMin: number;
}

export const deleteJob: JobKind = {
  kind: 'DELETE',
  async run(run: JobRun): Promise<JobOutcome> {
    const { archives } = run.job.ask as unknown as DeleteAsk;
    const repository = await patiently(run, () => run.duty.repository());
    await run.enter('REMOVE');
    const present: string[] = [];
    for (const archive of archives) if (await patiently(run, () => repository.hasArchive(archive))) present.push(archive);
    if (present.length === 0 && run.job.takeUps === 0) throw new AtollError('ARCHIVE_NOT_FOUND', `there is no archive ${archives.join(', ')}`, { metadata: { archive: archives[0]! } });
    // What a run before this one had doomed and not removed is asked for again (remove-archives.ts).
    await patiently(run, () => removeArchives(repository, archives, run.duty.nextSession()));
    const missing = archives.length - present.length;
    return { summary: `removed ${present.length} archives${missing > 0 ? `; ${missing} were not there` : ''}` };
  },
};

export const collectJob: JobKind = {
  kind: 'COLLECT',
  async run(run: JobRun): Promise<JobOutcome> {
    const { besideWriters, chunkAgeMsMin } = run.job.ask as unknown as CollectAsk;
    const repository = await patiently(run, () => run.duty.repository());
    await run.enter('COLLECT');
    const mayGoOn = (): boolean => !run.signal.aborted && run.duty.lock.isHeld();
    const { removed, removedBytes, setAside, putBack, waitsFor } = await patiently(run, () =>
      collectGarbage({ repository, id: run.duty.nextSession(), nowMs: Date.now(), chunkAgeMsMin, abandonedAfterMs: ABANDONED_AFTER_MS, besideWriters, mayGoOn }),
    );
    run.signal.throwIfAborted();
    run.meter.bytesDone = removedBytes;
    const waits = waitsFor.length > 0 ? `; waits for ${waitsFor.length} sessions: ${waitsFor.slice(0, 3).join(', ')}` : '';
    return { summary: `removed ${removed} chunks of ${removedBytes} bytes, set aside ${setAside}, put back ${putBack}${waits}` };
  },
};

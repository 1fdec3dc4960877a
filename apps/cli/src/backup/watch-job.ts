import { BackupJobState, type BackupJob } from '@atoll/contracts/atoll/v1/backup';
import type { SetExitCode } from '../commands/dev.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { note, print, type Io } from '../io.ts';
import { RedrawnLines } from '../output/redrawn-lines.ts';
import { printable } from '../output/table.ts';
import { durationText } from '../output/quantities.ts';
import { followJob } from './backup-connection.ts';
import { damageLines, jobJson, kindName, progressLine, stateName } from './job-text.ts';

/** Longest time for which a watch looks for a backup service: another one takes the job up within the ttl of the lock. */
export const WATCH_PATIENCE_MS = 60_000;

export interface WatchJobOptions {
  readonly addresses: readonly string[];
  readonly id: string;
  readonly json: boolean;
  readonly patienceMs?: number;
}

/**
 * Shows how a job gets on until it has ended: a bar on a terminal, else a line for each phase; with `json` a line of JSON for each
 * change. The exit code is 0 for SUCCEEDED, 1 for FAILED or CANCELLED, and 3 when Ctrl-C stopped the watch before.
 */
export async function watchJob(io: Io, setExitCode: SetExitCode, { addresses, id, json, patienceMs = WATCH_PATIENCE_MS }: WatchJobOptions): Promise<void> {
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  const lines = !json && io.stdout.isTTY === true ? new RedrawnLines(io) : undefined;
  let shown = '';
  const onJob = (job: BackupJob): void => {
    if (json) return print(io, JSON.stringify(jobJson(job)));
    if (lines !== undefined) return lines.draw([`${job.id} ${stateName(job)}: ${kindName(job)} ${job.archive}`, progressLine(job), ...(job.problem === '' ? [] : [job.problem])]);
    const now = `${job.state} ${job.phase} ${job.problem}`;
    if (now !== shown) print(io, printable(`${job.id} ${stateName(job)}  ${progressLine(job)}${job.problem === '' ? '' : `  ${job.problem}`}`));
    shown = now;
  };
  const onLost = (why: string): void => {
    const text = printable(`atoll: looking for a backup service (${why})`);
    if (lines === undefined) note(io, text);
    else lines.draw([text]);
  };
  let job: BackupJob | undefined;
  try {
    job = await followJob({ addresses, id, patienceMs, signal: stop.signal, onJob, onLost });
  } finally {
    lines?.end();
    process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal);
  }
  if (job === undefined) {
    note(io, `atoll: stopped watching; job ${id} goes on (atoll backup watch ${id}, atoll backup cancel ${id})`);
    return setExitCode(EXIT_CODE.unavailable);
  }
  if (job.state !== BackupJobState.BACKUP_JOB_STATE_SUCCEEDED) setExitCode(EXIT_CODE.failed);
  if (json) return;
  print(io, printable(`${id} ${stateName(job)} in ${durationText(job.endedAtMs - (job.startedAtMs || job.endedAtMs))}${job.summary === '' ? '' : `: ${job.summary}`}`));
  for (const line of damageLines(job)) print(io, printable(line));
  if (job.problem !== '') note(io, printable(`atoll: ${job.problem}`));
}

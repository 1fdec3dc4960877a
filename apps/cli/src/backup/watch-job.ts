import { setTimeout as pause } from 'node:timers/promises';
import { BackupJobState, type BackupJob } from '@atoll/contracts/atoll/v1/backup';
import { isAtollError } from '@atoll/core-errors';
import { callUnary } from '@atoll/platform-grpc';
import { CliError } from '../cli-error.ts';
import type { SetExitCode } from '../commands/dev.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { RedrawnLines } from '../output/redrawn-lines.ts';
import { printable } from '../output/table.ts';
import { askBackup } from './backup-connection.ts';
import { endLines, hasJobEnded, jobJson, jobLine, jobLines } from './job-view.ts';

const POLL_MS = 500;
/** A job goes on while its service is away: it is asked for again for so long. */
const PATIENCE_MS = 60_000;

/**
 * Shows how a job gets on until it has ended: a bar on a terminal, else a line for each change of its phase; with `json` the job in the
 * end. The exit code is 0 for SUCCEEDED, 1 for FAILED or CANCELLED, and 3 when Ctrl-C stopped the watch before.
 */
export async function watchJob(io: Io, setExitCode: SetExitCode, addresses: readonly string[], id: string, json: boolean): Promise<void> {
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  const lines = io.stdout.isTTY === true && !json ? new RedrawnLines(io) : undefined;
  let shown = '';
  let job: BackupJob | undefined;
  try {
    while (!stop.signal.aborted) {
      job = await look(addresses, id, stop.signal);
      if (job === undefined || hasJobEnded(job)) break;
      const change = `${job.state} ${job.phase}`;
      if (lines !== undefined) lines.draw(jobLines(job).map(printable));
      else if (change !== shown && !json) print(io, printable(jobLine(job)));
      shown = change;
      await pause(POLL_MS, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  } finally {
    lines?.end();
    process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal);
  }
  if (job === undefined || !hasJobEnded(job)) {
    note(io, `atoll: stopped watching; job ${id} goes on (atoll backup watch ${id}, atoll backup cancel ${id})`);
    return setExitCode(EXIT_CODE.unavailable);
  }
  if (job.state !== BackupJobState.BACKUP_JOB_STATE_SUCCEEDED) setExitCode(EXIT_CODE.failed);
  if (json) return printJson(io, jobJson(job));
  for (const line of endLines(job)) print(io, printable(line));
  if (job.problem !== '') note(io, printable(`atoll: ${job.problem}`));
}

/** Undefined when the signal aborts meanwhile. */
async function look(addresses: readonly string[], id: string, signal: AbortSignal): Promise<BackupJob | undefined> {
  for (const startMs = performance.now(); ; ) {
    try {
      const { job } = await askBackup(addresses, PATIENCE_MS, (client, settings) => callUnary(client, 'getBackupJob', { id }, { ...settings, signal }));
      return job;
    } catch (error) {
      if (signal.aborted) return undefined;
      const mayPass = error instanceof CliError || (isAtollError(error) && error.reason === 'METADATA_UNAVAILABLE');
      if (!mayPass || performance.now() - startMs > PATIENCE_MS) throw error;
      await pause(POLL_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}

import { MigrationState, type Migration } from '@atoll/contracts/atoll/v1/migration';
import { EXIT_CODE } from '../exit-code.ts';
import { note, print, type Io } from '../io.ts';
import { bytesText, durationText } from '../output/quantities.ts';
import { RedrawnLines } from '../output/redrawn-lines.ts';
import { printable } from '../output/table.ts';
import type { SetExitCode } from '../commands/dev.ts';
import { followMigration, type FollowHooks } from './follow-migration.ts';
import { MigrationProgress } from './migration-progress.ts';
import { partitionName, stateName } from './migration-states.ts';
import { pauseText, watchJson } from './migration-tables.ts';
import { progressLines, progressText } from './progress-view.ts';

/** Longest time for which a watch looks for a coordinator, in ms: an election takes seconds. */
export const WATCH_PATIENCE_MS = 60_000;
const REDRAW_MS = 1_000;
const PROBLEMS_SHOWN_MAX = 20;

/**
 * Shows how a migration gets on until it has ended: bars on a terminal, else lines; with `json` a line of JSON for each
 * message. The exit code is 0 for SUCCEEDED, 1 for FAILED or CANCELLED, and 3 when Ctrl-C stopped the watch before.
 */
export async function watchMigration(io: Io, setExitCode: SetExitCode, addresses: readonly string[], id: string, { patienceMs, json }: { patienceMs: number; json: boolean }): Promise<void> {
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  const progress = new MigrationProgress();
  const view = json ? jsonView(io, progress) : io.stdout.isTTY === true ? barsView(io, progress) : linesView(io, progress);
  let hasEnded = false;
  try {
    hasEnded = await followMigration(addresses, id, patienceMs, stop.signal, view);
  } finally {
    view.end();
    process.removeListener('SIGINT', onSignal).removeListener('SIGTERM', onSignal);
  }
  const { migration } = progress;
  if (!hasEnded || migration === undefined) {
    note(io, `atoll: stopped watching; migration ${id} goes on (atoll migrate watch ${id}, atoll migrate cancel ${id})`);
    return setExitCode(EXIT_CODE.unavailable);
  }
  if (migration.state !== MigrationState.MIGRATION_STATE_SUCCEEDED) setExitCode(EXIT_CODE.failed);
  if (!json) printEnd(io, migration, progress);
}

interface View extends FollowHooks {
  readonly end: () => void;
}

/** One line of JSON per message. */
function jsonView(io: Io, progress: MigrationProgress): View {
  return {
    onMessage: (message) => {
      progress.add(message, performance.now());
      print(io, JSON.stringify(watchJson(message)));
    },
    onLost: (why) => note(io, lostText(why)),
    end: () => undefined,
  };
}

/** A line whenever another partition is over, or the job changes its state. */
function linesView(io: Io, progress: MigrationProgress): View {
  let shown = '';
  return {
    onMessage: (message) => {
      progress.add(message, performance.now());
      const { migration } = progress;
      const now = migration === undefined ? shown : `${migration.state} ${migration.partitionsDone} ${migration.partitionsRolledBack}`;
      if (now === shown) return;
      shown = now;
      print(io, printable(progressText(progress, performance.now())));
    },
    onLost: (why) => note(io, lostText(why)),
    end: () => undefined,
  };
}

/** Bars that are drawn anew with each message, and once a second for the times in them. */
function barsView(io: Io, progress: MigrationProgress): View {
  const lines = new RedrawnLines(io);
  let notice = '';
  const draw = (): void => lines.draw(progressLines(progress, performance.now(), lines.rows, notice));
  const timer = setInterval(draw, REDRAW_MS);
  return {
    onMessage: (message) => {
      notice = '';
      progress.add(message, performance.now());
      draw();
    },
    onLost: (why) => {
      notice = lostText(why);
      draw();
    },
    end: () => {
      clearInterval(timer);
      lines.end();
    },
  };
}

const lostText = (why: string): string => printable(`atoll: looking for a coordinator (${why})`);

function printEnd(io: Io, migration: Migration, progress: MigrationProgress): void {
  const { id, state, partitionsDone, partitionsTotal, partitionsRolledBack, bytes, entries, createdAtMs, endedAtMs, pauseMsMax, problem } = migration;
  const facts = [
    `${partitionsDone} of ${partitionsTotal} partitions done${partitionsRolledBack > 0 ? ` and ${partitionsRolledBack} rolled back` : ''} in ${durationText(endedAtMs - createdAtMs)}`,
    `${bytesText(bytes)}, ${entries} entries`,
    pauseMsMax > 0 ? `writes waited at most ${pauseText(pauseMsMax)}` : 'no writes waited',
  ];
  print(io, `${id} ${stateName(state)}: ${facts.join('; ')}`);
  if (problem !== '') note(io, printable(`atoll: ${problem}`));
  const problems = progress.partitions.filter((partition) => partition.problem !== '');
  for (const partition of problems.slice(0, PROBLEMS_SHOWN_MAX)) note(io, printable(`${partitionName(partition)}: ${partition.problem}`));
  if (problems.length > PROBLEMS_SHOWN_MAX) note(io, `and ${problems.length - PROBLEMS_SHOWN_MAX} more: atoll migrate show ${id}`);
}

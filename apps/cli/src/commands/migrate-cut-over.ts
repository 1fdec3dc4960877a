import { Option, type Command } from 'commander';
import { MigrationState } from '@atoll/contracts/atoll/v1/migration';
import { callUnary } from '@atoll/platform-grpc';
import { coordinatorAddresses } from '../connection/addresses.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { migrationJson, pauseText } from '../migration/migration-tables.ts';
import { jobOf } from '../migration/migration-request.ts';
import { stateName } from '../migration/migration-states.ts';
import { adminCommand, type AdminFlags } from './admin.ts';
import type { SetExitCode } from './dev.ts';
import { wholeNumber } from './options.ts';

const MAX_PAUSE_MS_DEFAULT = 2000;
const TIMEOUT_MS = 30_000;

interface CutOverFlags extends AdminFlags {
  readonly maxPauseMs: number;
}

export function cutOverCommand(io: Io, setExitCode: SetExitCode): Command {
  return adminCommand('cut-over', 'have a copy take the place of its source, which is deleted, or closed where it is in another cluster')
    .argument('<id>', 'its id')
    .addOption(new Option('--max-pause-ms <ms>', 'longest time for which writes wait; after it all goes on as before').default(MAX_PAUSE_MS_DEFAULT).argParser(wholeNumber(100, 60_000)))
    .addHelpText('after', '\nEnds with 0 when the copy has the place of its source, with 1 when it was given up, with 3 when it is still under way.\n\nExample:\n  atoll migrate cut-over copy-1 --max-pause-ms 500')
    .action(async (id: string, flags: CutOverFlags) => {
      const { maxPauseMs } = flags;
      const timeoutMs = Math.max(flags.timeout, maxPauseMs + TIMEOUT_MS);
      const answer = await askCoordinator(coordinatorAddresses(io, flags), timeoutMs, (client, settings) => callUnary(client, 'cutOverMigration', { id, maxPauseMs }, settings), timeoutMs);
      const migration = jobOf(answer);
      const { state, copy, pauseMsMax, problem } = migration;
      const hasSucceeded = state === MigrationState.MIGRATION_STATE_SUCCEEDED;
      if (!hasSucceeded) setExitCode(state === MigrationState.MIGRATION_STATE_CUTTING_OVER ? 3 : 1);
      if (flags.json) return printJson(io, { migration: migrationJson(migration) });
      const isElsewhere = copy !== undefined && copy.sourceCluster !== '';
      const outcome = copy !== undefined && copy.sourceArchive !== '' ? `${copy.target} takes writes from now on` : isElsewhere ? `${copy.target} takes writes from now on, and ${copy.source} of cluster ${copy.sourceCluster} none` : `${copy?.source} is ${copy?.target} from now on`;
      if (hasSucceeded) print(io, `migration ${id}: SUCCEEDED, ${outcome}; writes waited for ${pauseText(pauseMsMax)}`);
      else {
        print(io, `migration ${id}: ${stateName(state)}${problem === '' ? '' : `, ${problem}`}`);
        note(io, `atoll migrate show ${id} shows how it stands`);
      }
    });
}

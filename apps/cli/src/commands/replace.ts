// One node takes the place of another.
import { Option, type Command } from 'commander';
import { callUnary } from '@atoll/platform-grpc';
import { usageError } from '../cli-error.ts';
import { coordinatorAddresses } from '../connection/addresses.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { jobOf, newRequestId } from '../migration/migration-request.ts';
import { migrationJson, partitionMigrationJson, plannedPartitionsTable } from '../migration/migration-tables.ts';
import { stateName } from '../migration/migration-states.ts';
import { WATCH_PATIENCE_MS, watchMigration } from '../migration/watch-migration.ts';
import { bytesText } from '../output/quantities.ts';
import { printable } from '../output/table.ts';
import { adminCommand, type AdminFlags } from './admin.ts';
import type { SetExitCode } from './dev.ts';
import { fullVerifyOption, isFullVerify, verifyOption, type VerifyFlags } from './method-options.ts';
import { byteRate, requestId, timeoutOption } from './options.ts';

/** Migrations that spread load give way first, which takes seconds. */
const TIMEOUT_MS = 60_000;

interface ReplaceFlags extends AdminFlags, VerifyFlags {
  readonly bytesPerSecond?: number;
  readonly id?: string;
  readonly dryRun?: boolean;
  readonly watch?: boolean;
}

export function replaceCommand(io: Io, setExitCode: SetExitCode): Command {
  return adminCommand('replace', 'have a node take the place of another, which ends empty and can be stopped', timeoutOption().default(TIMEOUT_MS, '1m'))
    .argument('<old>', 'node that goes; it may be dead: its replicas are copied from the others')
    .argument('<new>', 'node that takes its place')
    .addOption(new Option('--bytes-per-second <bytes>', 'bound on what is copied, over all nodes: 50MB (default: the bounds of the nodes)').argParser(byteRate))
    .addOption(verifyOption())
    .addOption(fullVerifyOption())
    .addOption(new Option('--id <id>', 'name of the job: the same one again answers with the job that it made (default: made up)').argParser(requestId))
    .addOption(new Option('--dry-run', 'show what would be done, and do nothing').conflicts('watch'))
    .addOption(new Option('--watch', 'go on as "atoll migrate watch"'))
    .addHelpText('after', '\nExamples:\n  atoll nodes replace node-2 node-4 --dry-run\n  atoll nodes replace node-2 node-4 --watch && atoll dev stop node-2')
    .action(async (from: string, to: string, flags: ReplaceFlags) => {
      if (from === to) throw usageError('<old> and <new> name the same node');
      const addresses = coordinatorAddresses(io, flags);
      const request = { id: flags.id ?? newRequestId('replace'), from, to, bytesPerSecond: flags.bytesPerSecond ?? 0, fullVerify: isFullVerify(flags), dryRun: flags.dryRun === true };
      const answer = await askCoordinator(addresses, flags.timeout, (client, settings) => callUnary(client, 'replaceNode', request, settings), flags.timeout);
      const { partitions, refusals } = answer;
      const migration = jobOf(answer);
      for (const refusal of refusals) note(io, printable(refusal));
      if (flags.json) {
        const shown = { migration: migrationJson(migration), partitions: partitions.map(partitionMigrationJson), refusals };
        // A watch goes on with one document a line.
        if (flags.watch) print(io, JSON.stringify(shown));
        else printJson(io, shown);
      } else if (request.dryRun) {
        print(io, plannedPartitionsTable(partitions));
        const bytes = partitions.reduce((sum, { bytesTotal }) => sum + bytesTotal, 0);
        print(io, `${partitions.length} partitions, ${bytesText(bytes)} would move; nothing was done`);
      } else {
        print(io, `migration ${migration.id}: ${stateName(migration.state)}, ${partitions.length} partitions; ${from} is drained until it holds nothing`);
      }
      if (request.dryRun) return;
      if (flags.watch) await watchMigration(io, setExitCode, addresses, migration.id, { patienceMs: Math.max(WATCH_PATIENCE_MS, flags.timeout), json: flags.json === true });
      else if (!flags.json) note(io, `atoll migrate watch ${migration.id} shows how it gets on`);
    });
}

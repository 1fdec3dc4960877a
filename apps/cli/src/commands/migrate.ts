// Migrations: jobs that move partitions between nodes while these are served.
import { Command, Option } from 'commander';
import type { AdminClient } from '@atoll/contracts/atoll/v1/admin';
import type { Migration, StartMigrationRequest } from '@atoll/contracts/atoll/v1/migration';
import { callUnary } from '@atoll/platform-grpc';
import { usageError } from '../cli-error.ts';
import { coordinatorAddresses } from '../connection/addresses.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { migrationJson, migrationsTable, migrationText, partitionMigrationJson, partitionsTable, plannedPartitionsTable } from '../migration/migration-tables.ts';
import { jobOf, newRequestId } from '../migration/migration-request.ts';
import { stateName } from '../migration/migration-states.ts';
import { WATCH_PATIENCE_MS, watchMigration } from '../migration/watch-migration.ts';
import { bytesText } from '../output/quantities.ts';
import { printable } from '../output/table.ts';
import { adminCommand, type AdminFlags } from './admin.ts';
import { copyCommand } from './migrate-copy.ts';
import { cutOverCommand } from './migrate-cut-over.ts';
import type { SetExitCode } from './dev.ts';
import { checkShards, fullVerifyOption, isFullVerify, methodOption, methodRequest, shardsOption, verifyOption, type MethodName, type VerifyFlags } from './method-options.ts';
import { byteRate, durationMsOption, requestId, tokenFields, tokenRange, wholeNumber, type TokenRangeFlag } from './options.ts';

export function migrateCommand(io: Io, setExitCode: SetExitCode): Command {
  return new Command('migrate')
    .description('move partitions between nodes, or copy a keyspace, while they are served, as a job that outlives this command')
    .addCommand(startCommand(io, setExitCode))
    .addCommand(copyCommand(io, setExitCode))
    .addCommand(listCommand(io))
    .addCommand(showCommand(io))
    .addCommand(watchCommand(io, setExitCode))
    .addCommand(pauseCommand(io))
    .addCommand(resumeCommand(io))
    .addCommand(cutOverCommand(io, setExitCode))
    .addCommand(cancelCommand(io));
}

interface StartFlags extends AdminFlags, VerifyFlags {
  readonly from: string;
  readonly to: string;
  readonly keyspace?: string;
  readonly allKeyspaces?: boolean;
  readonly partition?: number[];
  readonly range?: TokenRangeFlag;
  readonly bytesPerSecond?: number;
  readonly method?: MethodName;
  readonly shards?: number;
  readonly id?: string;
  readonly dryRun?: boolean;
  readonly watch?: boolean;
}

function startCommand(io: Io, setExitCode: SetExitCode): Command {
  const collect = (text: string, list: number[] = []): number[] => [...list, wholeNumber(0, 4095)(text)];
  return adminCommand('start', 'move replicas from one node to another')
    .requiredOption('--from <node>', 'node whose replicas go')
    .requiredOption('--to <node>', 'node that gets them')
    .addOption(new Option('--keyspace <name>', 'of which keyspace (default: default)'))
    .addOption(new Option('--all-keyspaces', 'of all keyspaces').conflicts(['keyspace', 'partition', 'range']))
    .addOption(new Option('--partition <id>', 'only this partition; may come more than once').argParser(collect))
    .addOption(new Option('--range <start..end>', 'only the partitions that this range of tokens consists of: in hex, without the last one; an empty end reaches to the last token').argParser(tokenRange).conflicts('partition'))
    .addOption(new Option('--bytes-per-second <bytes>', 'bound on what is copied, over all nodes: 50MB (default: the bounds of the nodes)').argParser(byteRate))
    .addOption(methodOption())
    .addOption(shardsOption())
    .addOption(verifyOption())
    .addOption(fullVerifyOption())
    .addOption(new Option('--id <id>', 'name of the job: the same one again answers with the job that it made (default: made up)').argParser(requestId))
    .addOption(new Option('--dry-run', 'show what would be done, and do nothing').conflicts('watch'))
    .addOption(new Option('--watch', 'go on as "atoll migrate watch"'))
    .addHelpText('after', '\nExamples:\n  atoll migrate start --from node-1 --to node-4 --dry-run\n  atoll migrate start --from node-1 --to node-4 --partition 3 --bytes-per-second 50MB --watch\n  atoll migrate start --from node-1 --to node-4 --partition 3 --method sharded --shards 8')
    .action(async (flags: StartFlags) => {
      checkShards(flags);
      if (flags.from === flags.to) throw usageError('--from and --to name the same node');
      const addresses = coordinatorAddresses(io, flags);
      const request = startRequest(flags);
      const answer = await askCoordinator(addresses, flags.timeout, (client, settings) => callUnary(client, 'startMigration', request, settings));
      const { partitions } = answer;
      const migration = jobOf(answer);
      if (flags.json) {
        const shown = { migration: migrationJson(migration), partitions: partitions.map(partitionMigrationJson) };
        // A watch goes on with one document a line.
        if (flags.watch) print(io, JSON.stringify(shown));
        else printJson(io, shown);
      } else {
        if (!request.dryRun) print(io, `migration ${migration.id}: ${stateName(migration.state)}`);
        print(io, plannedPartitionsTable(partitions));
        if (migration.methodReason !== '') print(io, printable(migration.methodReason));
        if (request.dryRun) {
          const sum = (of: 'bytesTotal' | 'entriesTotal'): number => partitions.reduce((total, partition) => total + partition[of], 0);
          print(io, `${partitions.length} partitions, ${bytesText(sum('bytesTotal'))}, ${sum('entriesTotal')} entries would move; nothing was done`);
        }
      }
      if (request.dryRun) return;
      if (flags.watch) await watchMigration(io, setExitCode, addresses, migration.id, { patienceMs: Math.max(WATCH_PATIENCE_MS, flags.timeout), json: flags.json === true });
      else if (!flags.json) note(io, `atoll migrate watch ${migration.id} shows how it gets on`);
    });
}

function startRequest(flags: StartFlags): StartMigrationRequest {
  return {
    id: flags.id ?? newRequestId('move'),
    ...methodRequest(flags),
    keyspace: flags.keyspace ?? '',
    partitions: flags.partition ?? [],
    allKeyspaces: flags.allKeyspaces === true,
    from: flags.from,
    to: flags.to,
    bytesPerSecond: flags.bytesPerSecond ?? 0,
    fullVerify: isFullVerify(flags),
    dryRun: flags.dryRun === true,
    target: undefined,
    sourceRouters: [],
    ...tokenFields(flags.range),
  };
}

function listCommand(io: Io): Command {
  return adminCommand('list', 'migrations, newest first')
    .addOption(new Option('--active', 'only those that have not ended'))
    .addOption(new Option('--limit <count>', 'at most so many').default(50).argParser(wholeNumber(1, 200)))
    .action(async (flags: AdminFlags & { active?: boolean; limit: number }) => {
      const request = { limit: flags.limit, active: flags.active === true };
      const { migrations } = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'listMigrations', request, settings));
      if (flags.json) return printJson(io, { migrations: migrations.map(migrationJson) });
      print(io, migrationsTable(migrations, Date.now()));
    });
}

function showCommand(io: Io): Command {
  return adminCommand('show', 'one migration and its partitions')
    .argument('<id>', 'its id')
    .action(async (id: string, flags: AdminFlags) => {
      const answer = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'getMigration', { id }, settings));
      const { partitions } = answer;
      const migration = jobOf(answer);
      if (flags.json) return printJson(io, { migration: migrationJson(migration), partitions: partitions.map(partitionMigrationJson) });
      print(io, migrationText(migration, Date.now()).split('\n').map(printable).join('\n'));
      if (partitions.length > 0) print(io, `\n${partitionsTable(partitions, Date.now())}`);
      else if (migration.partitionsTotal > 0) note(io, 'its partitions are not kept any more');
    });
}

function watchCommand(io: Io, setExitCode: SetExitCode): Command {
  const patience = new Option('--timeout <duration>', 'longest time without a coordinator').default(WATCH_PATIENCE_MS, '1m').argParser(durationMsOption);
  return adminCommand('watch', 'how a migration gets on, until it has ended', patience)
    .argument('<id>', 'its id')
    .addHelpText('after', '\nEnds with 0 for SUCCEEDED, with 1 for FAILED or CANCELLED. Ctrl-C stops watching, not the job, and ends with 3.')
    .action((id: string, flags: AdminFlags) => watchMigration(io, setExitCode, coordinatorAddresses(io, flags), id, { patienceMs: flags.timeout, json: flags.json === true }));
}

type Settings = { readonly deadlineMs: number };
type Change = (client: AdminClient, settings: Settings) => Promise<{ migration?: Migration | undefined }>;

function pauseCommand(io: Io): Command {
  return changeCommand('pause', 'begin no new step until it is resumed').action((id: string, flags: AdminFlags) =>
    change(io, flags, (client, settings) => callUnary(client, 'pauseMigration', { id }, settings)),
  );
}

function resumeCommand(io: Io): Command {
  return changeCommand('resume', 'go on, also with another bound')
    .addOption(new Option('--bytes-per-second <bytes>', 'another bound on what is copied from now on; 0: those of the nodes (default: as it was)').argParser(byteRate))
    .action((id: string, flags: AdminFlags & { bytesPerSecond?: number }) =>
      change(io, flags, (client, settings) => callUnary(client, 'resumeMigration', { id, bytesPerSecond: flags.bytesPerSecond }, settings)),
    );
}

function cancelCommand(io: Io): Command {
  return changeCommand('cancel', 'have partitions that are not done go back to where they were; the keyspace that a copy makes is removed').action((id: string, flags: AdminFlags) =>
    change(io, flags, (client, settings) => callUnary(client, 'cancelMigration', { id }, settings)),
  );
}

/** Repeating these does no harm: they tell the state that is wanted. */
const changeCommand = (name: string, description: string): Command => adminCommand(name, description).argument('<id>', 'its id');

async function change(io: Io, flags: AdminFlags, call: Change): Promise<void> {
  const migration = jobOf(await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, call));
  if (flags.json) return printJson(io, { migration: migrationJson(migration) });
  const { partitionsDone, partitionsTotal, bytesPerSecond } = migration;
  const bound = bytesPerSecond > 0 ? `, at most ${bytesText(bytesPerSecond)}/s` : '';
  print(io, `migration ${migration.id}: ${stateName(migration.state)}, ${partitionsDone} of ${partitionsTotal} partitions done${bound}`);
}

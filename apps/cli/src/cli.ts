import { Command, CommanderError } from 'commander';
import { clusterCommand, eventsCommand, nodesCommand, partitionsCommand } from './commands/admin.ts';
import { drillCommand, restoreCommand, verifyArchiveCommand } from './commands/backup-restore.ts';
import { scheduleCommand } from './commands/backup-schedule.ts';
import { backupCommand } from './commands/backup.ts';
import { dataCommands } from './commands/data.ts';
import { devCommand } from './commands/dev.ts';
import { nodeCommand, recoverCommand, transferCommand } from './commands/failover.ts';
import { keyspaceCommand } from './commands/keyspace.ts';
import { lockCommand } from './commands/lock.ts';
import { migrateCommand } from './commands/migrate.ts';
import { rebalanceCommand } from './commands/rebalance.ts';
import { recoverMetadataCommand } from './commands/recover-metadata.ts';
import { replaceCommand } from './commands/replace.ts';
import { ringCommand } from './commands/ring.ts';
import { standbyCommand } from './commands/standby.ts';
import { debugCommand, doctorCommand, topCommand } from './commands/support.ts';
import { syncCommand, verifyCommand } from './commands/verify.ts';
import { EXIT_CODE, type ExitCode } from './exit-code.ts';
import { note, type Io } from './io.ts';
import { explainError } from './output/explain-error.ts';

const HELP = `
Exit codes: 0 done; 1 failed or not found; 2 wrong usage or configuration; 3 not reachable or not able to serve now.`;

/** Runs one command line (without the program's name) and tells the exit code. Never rejects. */
export async function runCli(args: readonly string[], io: Io): Promise<ExitCode> {
  let exitCode: ExitCode = EXIT_CODE.ok;
  const program = createProgram(io, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    return explain(error, io);
  }
}

/** All commands; nothing is run. */
export function createProgram(io: Io, setExitCode: (code: ExitCode) => void): Command {
  const program = new Command('atoll').description('a distributed cache: clusters on this machine, data and administration').addHelpText('after', HELP);
  program.enablePositionalOptions();
  program.commandsGroup('Local clusters:');
  program.addCommand(devCommand(io, setExitCode));
  program.commandsGroup('Data:');
  for (const command of dataCommands(io, setExitCode)) program.addCommand(command);
  program.commandsGroup('Administration:');
  const backup = backupCommand(io, setExitCode);
  for (const command of [restoreCommand(io, setExitCode), verifyArchiveCommand(io, setExitCode), drillCommand(io, setExitCode), scheduleCommand(io), standbyCommand(io, setExitCode)]) backup.addCommand(command);
  for (const command of [clusterCommand(io).enablePositionalOptions().addCommand(recoverMetadataCommand(io, setExitCode)), nodesCommand(io).enablePositionalOptions().addCommand(replaceCommand(io, setExitCode)), nodeCommand(io, setExitCode), partitionsCommand(io).enablePositionalOptions().addCommand(transferCommand(io, setExitCode)).addCommand(recoverCommand(io, setExitCode)), ringCommand(io), keyspaceCommand(io), lockCommand(io, setExitCode), eventsCommand(io), verifyCommand(io, setExitCode), syncCommand(io, setExitCode), migrateCommand(io, setExitCode), rebalanceCommand(io, setExitCode), backup]) {
    program.addCommand(command);
  }
  program.commandsGroup('When something is wrong:');
  for (const command of [doctorCommand(io, setExitCode), topCommand(io), debugCommand(io)]) program.addCommand(command);
  for (const command of allCommands(program)) {
    command.exitOverride();
    command.configureOutput({ writeOut: (text) => io.stdout.write(text), writeErr: (text) => io.stderr.write(text) });
    command.showHelpAfterError('(--help tells more)');
  }
  return program;
}

function explain(error: unknown, io: Io): ExitCode {
  // commander has printed its own message already; help and version come this way with code 0.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_CODE.ok : EXIT_CODE.usage;
  const { text, exitCode } = explainError(error);
  note(io, `atoll: ${text}`);
  return exitCode;
}

function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
}

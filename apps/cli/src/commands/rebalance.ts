import { Option, type Command } from 'commander';
import type { PlanRebalanceResponse } from '@atoll/contracts/atoll/v1/migration';
import { callUnary } from '@atoll/platform-grpc';
import { coordinatorAddresses } from '../connection/addresses.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { migrationJson, plannedMovesTable, refusedGroups, refusedMovesTable } from '../migration/migration-tables.ts';
import { stateName } from '../migration/migration-states.ts';
import { WATCH_PATIENCE_MS, watchMigration } from '../migration/watch-migration.ts';
import { bytesText, durationText } from '../output/quantities.ts';
import { printable } from '../output/table.ts';
import { adminCommand, type AdminFlags } from './admin.ts';
import type { SetExitCode } from './dev.ts';
import { checkShards, methodOption, methodRequest, shardsOption, type MethodFlags } from './method-options.ts';
import { newRequestId } from '../migration/migration-request.ts';

interface RebalanceFlags extends AdminFlags, MethodFlags {
  readonly keyspace?: string;
  readonly dryRun?: boolean;
  readonly watch?: boolean;
}

export function rebalanceCommand(io: Io, setExitCode: SetExitCode): Command {
  return adminCommand('rebalance', 'move replicas to where they should be, as a migration')
    .addOption(new Option('--keyspace <name>', 'only this keyspace (default: all)'))
    .addOption(new Option('--dry-run', 'show the moves and why, and do nothing').conflicts('watch'))
    .addOption(methodOption())
    .addOption(shardsOption())
    .addOption(new Option('--watch', 'go on as "atoll migrate watch"'))
    .action((flags: RebalanceFlags) => {
      checkShards(flags);
      return flags.dryRun ? plan(io, flags) : rebalance(io, setExitCode, flags);
    });
}

async function plan(io: Io, flags: RebalanceFlags): Promise<void> {
  const request = { keyspace: flags.keyspace ?? '' };
  const answer = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'planRebalance', request, settings));
  const { moves, bytes, estimatedMs, refused } = answer;
  if (flags.json) return printJson(io, answer);
  if (moves.length > 0) print(io, plannedMovesTable(moves));
  if (refused.length > 0) print(io, refusedMovesTable(refused));
  if (moves.length > 0) print(io, `${moves.length} moves, ${bytesText(bytes)}, about ${durationText(estimatedMs)}; ${refusedCount(answer) > 0 ? `${refusedCount(answer)} refused; ` : ''}nothing was done`);
  else if (!isAnyRefused(answer)) print(io, IN_PLACE);
  noteRefusals(io, { ...answer, refused: [] });
}

async function rebalance(io: Io, setExitCode: SetExitCode, flags: RebalanceFlags): Promise<void> {
  const addresses = coordinatorAddresses(io, flags);
  const request = { keyspace: flags.keyspace ?? '', id: newRequestId('rebalance'), ...methodRequest(flags) };
  const answer = await askCoordinator(addresses, flags.timeout, (client, settings) => callUnary(client, 'rebalance', request, settings));
  const { migration, refusals, refused, refusedLeftOut } = answer;
  // Something should be done, and nothing of it can be.
  if (migration === undefined && isAnyRefused(answer)) setExitCode(EXIT_CODE.failed);
  if (flags.json) {
    const shown = { migration: migration === undefined ? null : migrationJson(migration), refusals, refused, refusedLeftOut };
    if (flags.watch) print(io, JSON.stringify(shown));
    else printJson(io, shown);
  } else {
    noteRefusals(io, answer);
    if (migration !== undefined) print(io, `migration ${migration.id}: ${stateName(migration.state)}, ${migration.partitionsTotal} partitions`);
    else if (!isAnyRefused(answer)) print(io, IN_PLACE);
  }
  if (migration === undefined) return;
  if (flags.watch) await watchMigration(io, setExitCode, addresses, migration.id, { patienceMs: Math.max(WATCH_PATIENCE_MS, flags.timeout), json: flags.json === true });
  else if (!flags.json) note(io, `atoll migrate watch ${migration.id} shows how it gets on`);
}

const IN_PLACE = 'every replica is in its place: there is nothing to move';

type Refused = Pick<PlanRebalanceResponse, 'refusals' | 'refused' | 'refusedLeftOut'>;

const refusedCount = ({ refused, refusedLeftOut }: Refused): number => refused.length + refusedLeftOut;
const isAnyRefused = (answer: Refused): boolean => refusedCount(answer) + answer.refusals.length > 0;

function noteRefusals(io: Io, { refusals, refused, refusedLeftOut }: Refused): void {
  for (const { refusal, keyspace, partitions, detail } of refusedGroups(refused)) note(io, printable(`refused: ${keyspace} ${partitions}: ${detail} (${refusal})`));
  for (const refusal of refusals) note(io, printable(`refused: ${refusal}`));
  if (refusedLeftOut > 0) note(io, `${refusedLeftOut} more are refused`);
}

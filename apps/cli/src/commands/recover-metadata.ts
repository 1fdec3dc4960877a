import { Option, type Command } from 'commander';
import type { PartitionRebuilt, RecoverMetadataResponse } from '@atoll/contracts/atoll/v1/admin';
import { callUnary } from '@atoll/platform-grpc';
import { usageError } from '../cli-error.ts';
import { coordinatorAddresses } from '../connection/addresses.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { renderTable } from '../output/table.ts';
import { adminCommand, type AdminFlags } from './admin.ts';
import type { SetExitCode } from './dev.ts';

/** Unless --timeout says otherwise: raising etcd's revision may take a while. */
const TIMEOUT_MS = 120_000;

/** `atoll cluster recover-metadata` (R13). */
export function recoverMetadataCommand(io: Io, setExitCode: SetExitCode): Command {
  const command = adminCommand('recover-metadata', 'etcd was restored from a backup, or wiped: show the records that the nodes remember, or write them')
    .addOption(new Option('--yes', 'write them'))
    .addOption(new Option('--force', 'with --yes: also where something may be lost'));
  return command.action(async (flags: AdminFlags & { yes?: boolean; force?: boolean }) => {
    if (flags.force === true && flags.yes !== true) throw usageError('--force means nothing without --yes');
    const execute = flags.yes === true;
    const timeoutMs = command.getOptionValueSource('timeout') === 'default' ? TIMEOUT_MS : flags.timeout;
    const request = { execute, acceptRisks: flags.force === true };
    const recovery = await askCoordinator(coordinatorAddresses(io, flags), timeoutMs, (client, settings) => callUnary(client, 'recoverMetadata', request, settings), timeoutMs);
    if (execute && !recovery.executed) setExitCode(EXIT_CODE.failed);
    if (flags.json) return printJson(io, recovery);
    printRecovery(io, recovery);
    if (recovery.executed) return print(io, 'The records were written: changes are possible again.');
    if (recovery.risks.length > 0) note(io, `Nothing was written${execute ? ', because something may be lost' : ''}. Bring back the nodes that did not answer and run it again; or accept what may be lost with --yes --force.`);
    else note(io, 'Nothing was written. Repeat with --yes.');
  });
}

function printRecovery(io: Io, { regressed, asked, unreachable, keyspaces, partitions, risks, revision, revisionSeen }: RecoverMetadataResponse): void {
  for (const reason of regressed) print(io, `went back      ${reason}`);
  print(io, `nodes          ${asked.join(', ') || 'none'} answered${unreachable.length === 0 ? '' : `; ${unreachable.join(', ')} did not`}`);
  print(io, `revision       ${revision}, to be raised above ${revisionSeen}`);
  for (const { name, outcome } of keyspaces) print(io, `keyspace       ${name}: ${OUTCOMES[outcome] ?? outcome}`);
  print(io, renderTable(COLUMNS, partitions.map(toRow)));
  for (const risk of risks) print(io, `may be lost    ${risk}`);
}

const OUTCOMES: Readonly<Record<string, string>> = {
  KEPT: 'etcd has it',
  RESTORED: 'etcd has lost it; it is written again',
  REMOVED: 'it was deleted, and etcd shows it again; it is removed',
};

const COLUMNS = [
  { heading: 'KEYSPACE' },
  { heading: 'PARTITION', numeric: true },
  { heading: 'GENERATION', numeric: true },
  { heading: 'EPOCH IN ETCD', numeric: true },
  { heading: 'EPOCH', numeric: true },
  { heading: 'LEADER' },
  { heading: 'IN SYNC' },
  { heading: 'KNOWN BY' },
];

function toRow({ keyspace, partition, generation, epochBefore, epoch, leader, inSync, source }: PartitionRebuilt): (string | number)[] {
  return [keyspace, partition, generation, epochBefore === 0 ? '-' : epochBefore, epoch, leader || '-', inSync.join(','), source];
}

import { Command, Option } from 'commander';
import { Durability, Eviction, Keyspace, OnDataLoss, type KeyspaceFreeze } from '@atoll/contracts/atoll/v1/admin';
import { Ack } from '@atoll/contracts/atoll/v1/cache';
import { callUnary } from '@atoll/platform-grpc';
import { usageError } from '../cli-error.ts';
import { coordinatorAddresses } from '../connection/addresses.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { print, printJson, type Io } from '../io.ts';
import { keyspaceJson } from '../output/messages.ts';
import { bytesText } from '../output/quantities.ts';
import { renderTable } from '../output/table.ts';
import { adminCommand, type AdminFlags } from './admin.ts';
import { byteCount, durationMsOption, positiveNumber, wholeNumber } from './options.ts';

interface SettingFlags {
  partitions?: number;
  replicationFactor?: number;
  pool?: string;
  durability?: string;
  minInSync?: number;
  ack?: string;
  ttl?: number;
  memoryShare?: number;
  eviction?: string;
  onDataLoss?: string;
  valueBytesMax?: number;
}

/** Options of settings that may change later, with the name of the field that each of them changes. */
const CHANGEABLE: readonly (readonly [keyof SettingFlags, string])[] = [
  ['minInSync', 'min_in_sync'],
  ['ack', 'ack'],
  ['ttl', 'default_ttl_ms'],
  ['memoryShare', 'memory_share'],
  ['eviction', 'eviction'],
  ['onDataLoss', 'on_data_loss'],
  ['valueBytesMax', 'value_bytes_max'],
];

export function keyspaceCommand(io: Io): Command {
  return new Command('keyspace')
    .description('keyspaces: named sets of entries with one policy')
    .addCommand(createCommand(io))
    .addCommand(updateCommand(io))
    .addCommand(getCommand(io))
    .addCommand(listCommand(io))
    .addCommand(freezeCommand(io))
    .addCommand(unfreezeCommand(io))
    .addCommand(deleteCommand(io));
}

const addChangeable = (command: Command): Command =>
  command
    .addOption(new Option('--min-in-sync <count>', 'in-sync replicas without which nothing commits').argParser(wholeNumber(1, 7)))
    .addOption(new Option('--ack <level>', 'of writes that do not say').choices(['IN_SYNC', 'LEADER']))
    .addOption(new Option('--ttl <duration>', 'life of entries that do not say, such as 10m; 0: no expiry').argParser(durationMsOption))
    .addOption(new Option('--memory-share <share>', "share of each storage node's memory, above 0 and at most 1").argParser(positiveNumber))
    .addOption(new Option('--eviction <policy>', 'when the share is used up').choices(['LRU', 'NONE']))
    .addOption(new Option('--on-data-loss <policy>', 'when no replica has all committed writes').choices(['WAIT', 'RESET']))
    .addOption(new Option('--value-bytes-max <bytes>', 'largest value, such as 1MiB').argParser(byteCount));

function createCommand(io: Io): Command {
  return addChangeable(
    adminCommand('create', 'create a keyspace; returns when every partition has a leader')
      .argument('<name>', '1 to 64 characters of a-z 0-9 _ -')
      .addOption(new Option('--partitions <count>', 'a power of two, fixed from then on (default: 64)').argParser(wholeNumber(1, 4096)))
      .addOption(new Option('--replication-factor <count>', 'replicas per partition (default: 2)').argParser(wholeNumber(1, 7)))
      .addOption(new Option('--pool <name>', 'pool of storage nodes that holds it, fixed from then on (default: main)'))
      .addOption(new Option('--durability <level>', 'what a write waits for on disk, fixed from then on (default: NONE)').choices(['NONE', 'ASYNC', 'SYNC'])),
  )
    .addHelpText('after', '\nExample:\n  atoll keyspace create sessions --partitions 256 --replication-factor 3 --ttl 30m')
    .action(async (name: string, flags: AdminFlags & SettingFlags) => {
      const { keyspace } = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) =>
        callUnary(client, 'createKeyspace', { keyspace: toKeyspace(name, flags) }, settings),
      );
      show(io, flags, keyspace);
    });
}

function updateCommand(io: Io): Command {
  return addChangeable(adminCommand('update', 'change settings of a keyspace while it is served').argument('<name>')).action(
    async (name: string, flags: AdminFlags & SettingFlags) => {
      const fields = CHANGEABLE.filter(([flag]) => flags[flag] !== undefined).map(([, field]) => field);
      if (fields.length === 0) throw usageError('nothing to change: give at least one setting');
      const { keyspace } = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) =>
        callUnary(client, 'updateKeyspace', { keyspace: toKeyspace(name, flags), fields }, settings),
      );
      show(io, flags, keyspace);
    },
  );
}

function getCommand(io: Io): Command {
  return adminCommand('get', 'settings of a keyspace')
    .argument('[name]', 'which one', 'default')
    .action(async (name: string, flags: AdminFlags) => {
      const { keyspace } = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'getKeyspace', { name }, settings));
      show(io, flags, keyspace);
    });
}

function listCommand(io: Io): Command {
  return adminCommand('list', 'all keyspaces').action(async (flags: AdminFlags) => {
    const { keyspaces } = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'listKeyspaces', {}, settings));
    if (flags.json) return printJson(io, { keyspaces: keyspaces.map(keyspaceJson) });
    const hasPools = new Set(keyspaces.map(({ pool }) => pool)).size > 1;
    const hasOtherNames = keyspaces.some((keyspace) => otherNames(keyspace) !== '');
    const columns = [
      { heading: 'KEYSPACE' },
      ...(hasPools ? [{ heading: 'POOL' }] : []),
      { heading: 'PARTITIONS', numeric: true },
      { heading: 'REPLICAS', numeric: true },
      { heading: 'MIN IN SYNC', numeric: true },
      { heading: 'ACK' },
      { heading: 'DURABILITY' },
      { heading: 'TTL MS', numeric: true },
      { heading: 'EVICTION' },
      ...(hasOtherNames ? [{ heading: 'ALSO' }] : []),
    ];
    const rows = keyspaces.map((keyspace) => {
      const { ack, durability, eviction } = keyspaceJson(keyspace) as { ack: string; durability: string; eviction: string };
      return [keyspace.name, ...(hasPools ? [keyspace.pool] : []), keyspace.partitionCount, keyspace.replicationFactor, keyspace.minInSync, ack, durability, keyspace.defaultTtlMs || '-', eviction, ...(hasOtherNames ? [otherNames(keyspace)] : [])];
    });
    print(io, renderTable(columns, rows));
  });
}

/** Further names of a keyspace; of one whose place was taken, by which; of one that takes no writes, that. */
function otherNames({ aliases, movedTo, freeze }: Keyspace): string {
  if (movedTo !== undefined) return `its place has ${movedTo}`;
  return [...aliases, ...(freeze === undefined ? [] : [freezeText(freeze)])].join(', ');
}

const freezeText = ({ movedToCluster, movedToKeyspace, note }: KeyspaceFreeze): string =>
  movedToCluster === '' ? `frozen${note === '' ? '' : `: ${note}`}` : `moved to ${movedToKeyspace} of cluster ${movedToCluster}`;

function freezeCommand(io: Io): Command {
  return adminCommand('freeze', 'have a keyspace take no writes until it is unfrozen; it is read as before')
    .argument('<name>')
    .addOption(new Option('--note <text>', 'why, for whoever looks at it, or is refused'))
    .addHelpText('after', '\nReturns when nothing more is written: what was acknowledged until then is all there is.\n\nExample:\n  atoll keyspace freeze orders --note "until the backup is done"')
    .action(async (name: string, flags: AdminFlags & { note?: string }) => {
      const { keyspace } = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'freezeKeyspace', { name, note: flags.note ?? '' }, settings));
      if (flags.json) return show(io, flags, keyspace);
      print(io, `${name}: ${keyspace?.freeze === undefined ? 'frozen' : freezeText(keyspace.freeze)}`);
    });
}

function unfreezeCommand(io: Io): Command {
  return adminCommand('unfreeze', 'have a keyspace take writes again')
    .argument('<name>')
    .addOption(new Option('--reopen-moved', 'also one that another cluster has since a cut-over: both are written to from then on, and go apart'))
    .action(async (name: string, flags: AdminFlags & { reopenMoved?: boolean }) => {
      const { keyspace } = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'unfreezeKeyspace', { name, reopenMoved: flags.reopenMoved === true }, settings));
      if (flags.json) return show(io, flags, keyspace);
      print(io, `${name}: takes writes`);
    });
}

function deleteCommand(io: Io): Command {
  return adminCommand('delete', 'delete a keyspace with all its data')
    .argument('<name>')
    .requiredOption('--yes', 'yes, with all its data')
    .action(async (name: string, flags: AdminFlags) => {
      await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'deleteKeyspace', { name }, settings));
      if (flags.json) printJson(io, { deleted: name });
      else print(io, `${name}: deleted`);
    });
}

function toKeyspace(name: string, flags: SettingFlags): Keyspace {
  return Keyspace.fromPartial({
    name,
    partitionCount: flags.partitions,
    replicationFactor: flags.replicationFactor,
    pool: flags.pool,
    minInSync: flags.minInSync,
    ack: Ack[`ACK_${flags.ack ?? 'UNSPECIFIED'}` as keyof typeof Ack],
    durability: Durability[`DURABILITY_${flags.durability ?? 'UNSPECIFIED'}` as keyof typeof Durability],
    defaultTtlMs: flags.ttl,
    memoryShare: flags.memoryShare,
    eviction: Eviction[`EVICTION_${flags.eviction ?? 'UNSPECIFIED'}` as keyof typeof Eviction],
    onDataLoss: OnDataLoss[`ON_DATA_LOSS_${flags.onDataLoss ?? 'UNSPECIFIED'}` as keyof typeof OnDataLoss],
    valueBytesMax: flags.valueBytesMax,
  });
}

function show(io: Io, flags: AdminFlags, keyspace: Keyspace | undefined): void {
  if (keyspace === undefined) throw new Error('the coordinator answered without a keyspace');
  const shown = keyspaceJson(keyspace);
  if (flags.json) return printJson(io, shown);
  const texts: Record<string, unknown> = { ...shown, valueBytesMax: bytesText(keyspace.valueBytesMax), defaultTtlMs: keyspace.defaultTtlMs || 'no expiry', aliases: keyspace.aliases.join(', ') || 'none', ...(keyspace.freeze !== undefined && { freeze: freezeText(keyspace.freeze) }) };
  for (const [field, value] of Object.entries(texts)) print(io, `${field.padEnd(20)}${String(value)}`);
}

import { Command, Option } from 'commander';
import type { Node } from '@atoll/contracts/atoll/v1/admin';
import { callUnary } from '@atoll/platform-grpc';
import { clusterDirOption, coordinatorAddresses, coordinatorOption, type ConnectionFlags } from '../connection/addresses.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { print, printJson, type Io } from '../io.ts';
import { eventJson, nodeJson, partitionJson } from '../output/messages.ts';
import { durationText } from '../output/quantities.ts';
import { renderTable } from '../output/table.ts';
import { jsonOption, timeoutOption, tokenText, wholeNumber } from './options.ts';

/** Partitions named in a line. */
const PARTITIONS_SHOWN_MAX = 3;

/** Beside the state of a node. */
const WANTED_TEXTS: Readonly<Record<string, readonly string[]>> = { DRAINING: ['draining'], REMOVED: ['removed'] };

export type AdminFlags = ConnectionFlags & { readonly json?: boolean };

/** A command that asks the coordinator: the options that all of them have. */
export function adminCommand(name: string, description: string, timeout: Option = timeoutOption()): Command {
  return new Command(name)
    .description(description)
    .addOption(coordinatorOption())
    .addOption(clusterDirOption())
    .addOption(timeout)
    .addOption(jsonOption());
}

export function clusterCommand(io: Io): Command {
  return adminCommand('cluster', 'state of the cluster as a whole').action(async (flags: AdminFlags) => {
    const cluster = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'getCluster', {}, settings));
    if (flags.json) return printJson(io, cluster);
    const rows: [string, string | number][] = [
      ['cluster', cluster.clusterId],
      ['coordinator', cluster.coordinator],
      ['storage nodes', `${cluster.nodesUp} up of ${cluster.nodesTotal}`],
      ['keyspaces', cluster.keyspaces],
      ['partitions', cluster.partitions],
      ['  without a leader', cluster.partitionsWithoutLeader],
      ['  under-replicated', cluster.partitionsUnderReplicated],
    ];
    for (const [name, value] of rows) print(io, `${name.padEnd(20)}${value}`);
    for (const reason of cluster.metadataRegressed) print(io, `${'etcd went back'.padEnd(20)}${reason}`);
    if (cluster.metadataRegressed.length > 0) print(io, 'Nothing can be changed until atoll cluster recover-metadata.');
  });
}

export function nodesCommand(io: Io): Command {
  return adminCommand('nodes', 'storage nodes and what they hold').action(async (flags: AdminFlags) => {
    const { nodes } = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'listNodes', {}, settings));
    const shown = nodes.map(nodeJson);
    if (flags.json) return printJson(io, { nodes: shown });
    const hasPools = new Set(nodes.map(({ pool }) => pool)).size > 1;
    print(
      io,
      renderTable(
        [
          { heading: 'NODE' },
          { heading: 'ADDRESS' },
          { heading: 'ZONE' },
          ...(hasPools ? [{ heading: 'POOL' }] : []),
          { heading: 'WEIGHT', numeric: true },
          { heading: 'STATE' },
          { heading: 'SINCE' },
          { heading: 'LEADS', numeric: true },
          { heading: 'IN SYNC', numeric: true },
          { heading: 'LEARNS', numeric: true },
          { heading: 'REASON' },
        ],
        nodes.map((node, index) => [
          node.id,
          node.address,
          node.zone,
          ...(hasPools ? [node.pool] : []),
          node.weight,
          [String(shown[index]?.['state']), ...(WANTED_TEXTS[node.wanted] ?? [])].join(' '),
          durationText(node.stateMs),
          node.leaders,
          node.replicas,
          node.learners,
          [node.reason, ...lastInSyncText(node), ...node.degraded, ...(node.etcdLost ? ['it cannot reach etcd'] : []), ...(node.metadataRegressed ? ['it saw more than etcd shows now'] : [])].join('; '),
        ]),
      ),
    );
  });
}

/** What nobody may stop it before. */
export function lastInSyncText({ lastInSync, lastInSyncTotal }: Node): string[] {
  if (lastInSyncTotal === 0) return [];
  const shown = lastInSync.slice(0, PARTITIONS_SHOWN_MAX);
  const more = lastInSyncTotal - shown.length;
  return [`do not stop it: it has the only in-sync replica of ${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`];
}

export function partitionsCommand(io: Io): Command {
  return adminCommand('partitions', 'the partition table: who leads and who follows')
    .addOption(new Option('--keyspace <name>', 'only this keyspace (default: all)'))
    .action(async (flags: AdminFlags & { keyspace?: string }) => {
      const { partitions } = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) =>
        callUnary(client, 'listPartitions', { keyspace: flags.keyspace ?? '' }, settings),
      );
      if (flags.json) return printJson(io, { partitions: partitions.map(partitionJson) });
      print(
        io,
        renderTable(
          [
            { heading: 'KEYSPACE' },
            { heading: 'PARTITION', numeric: true },
            { heading: 'EPOCH', numeric: true },
            { heading: 'STATE' },
            { heading: 'LEADER' },
            { heading: 'IN SYNC' },
            { heading: 'LEARNERS' },
            { heading: 'FIRST TOKEN' },
          ],
          partitions.map((partition) => [
            partition.keyspace,
            partition.id,
            partition.epoch,
            partition.state,
            partition.leader || '-',
            partition.inSync.join(','),
            partition.learners.join(','),
            tokenText(partition.tokenStart),
          ]),
        ),
      );
    });
}

export function eventsCommand(io: Io): Command {
  return adminCommand('events', 'what happened: losses of data, changes of leadership, joins; newest first')
    .addOption(new Option('--limit <count>', 'at most so many').default(100).argParser(wholeNumber(1, 1000)))
    .addOption(new Option('--kind <kind>', 'only of this kind, such as DATA_LOSS'))
    .action(async (flags: AdminFlags & { limit: number; kind?: string }) => {
      const { events } = await askCoordinator(coordinatorAddresses(io, flags), flags.timeout, (client, settings) =>
        callUnary(client, 'listEvents', { limit: flags.limit, kind: flags.kind?.toUpperCase() ?? '' }, settings),
      );
      if (flags.json) return printJson(io, { events: events.map(eventJson) });
      const columns = [{ heading: 'TIME' }, { heading: 'KIND' }, { heading: 'KEYSPACE' }, { heading: 'NODE' }, { heading: 'PARTITIONS', numeric: true }, { heading: 'MESSAGE' }];
      print(
        io,
        renderTable(
          columns,
          events.map((event) => [new Date(event.atMs).toISOString(), event.kind, event.keyspace, event.node, event.partitions.length || '', event.message]),
        ),
      );
    });
}

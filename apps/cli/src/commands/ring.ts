import { Option } from 'commander';
import type { Node, Partition } from '@atoll/contracts/atoll/v1/admin';
import { callUnary } from '@atoll/platform-grpc';
import { coordinatorAddresses } from '../connection/addresses.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { print, printJson, type Io } from '../io.ts';
import { renderTable } from '../output/table.ts';
import { adminCommand, type AdminFlags } from './admin.ts';
import type { Command } from 'commander';

/** A node's part of one keyspace. */
export interface RingShare {
  readonly node: string;
  readonly zone: string;
  readonly pool: string;
  readonly weight: number;
  /** In-sync replicas and learners. */
  readonly replicas: number;
  readonly leaders: number;
  /** Its replicas over what its weight within its pool entitles it to; 1 is even, above 1.1 is uneven. */
  readonly load: number;
}

/** Shares of the nodes that hold or could hold replicas: a table of replicas and leaders against weights. */
export function ringShares(nodes: readonly Node[], partitions: readonly Partition[]): RingShare[] {
  const held = new Map<string, { replicas: number; leaders: number }>(nodes.map(({ id }) => [id, { replicas: 0, leaders: 0 }]));
  const shareOf = (id: string): { replicas: number; leaders: number } => {
    const share = held.get(id) ?? { replicas: 0, leaders: 0 };
    held.set(id, share);
    return share;
  };
  for (const { leader, inSync, learners } of partitions) {
    for (const id of [...inSync, ...learners]) shareOf(id).replicas += 1;
    if (leader !== '') shareOf(leader).leaders += 1;
  }
  const known = new Map(nodes.map((node) => [node.id, node]));
  const poolOf = (id: string): string => known.get(id)?.pool ?? '';
  const weightOf = (id: string): number => known.get(id)?.weight ?? 0;
  const pools = new Map(Array.from(Map.groupBy(held, ([id]) => poolOf(id)), ([pool, members]) => [pool, { weight: members.reduce((sum, [id]) => sum + weightOf(id), 0), replicas: members.reduce((sum, [, { replicas }]) => sum + replicas, 0) }]));
  return [...held].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true })).map(([node, { replicas, leaders }]) => {
    const weight = weightOf(node);
    const pool = pools.get(poolOf(node))!;
    const fair = pool.weight === 0 ? 0 : (pool.replicas * weight) / pool.weight;
    return { node, zone: known.get(node)?.zone ?? '', pool: poolOf(node), weight, replicas, leaders, load: fair === 0 ? 0 : replicas / fair };
  });
}

export function ringCommand(io: Io): Command {
  return adminCommand('ring', 'how evenly the partitions lie on the storage nodes')
    .addOption(new Option('--keyspace <name>', 'only this keyspace (default: all)'))
    .action(async (flags: AdminFlags & { keyspace?: string }) => {
      const addresses = coordinatorAddresses(io, flags);
      const { nodes } = await askCoordinator(addresses, flags.timeout, (client, settings) => callUnary(client, 'listNodes', {}, settings));
      const { partitions } = await askCoordinator(addresses, flags.timeout, (client, settings) =>
        callUnary(client, 'listPartitions', { keyspace: flags.keyspace ?? '' }, settings),
      );
      const shares = ringShares(nodes, partitions);
      if (flags.json) return printJson(io, { nodes: shares });
      const hasPools = new Set(shares.map(({ pool }) => pool)).size > 1;
      const columns = [
        { heading: 'NODE' },
        { heading: 'ZONE' },
        ...(hasPools ? [{ heading: 'POOL' }] : []),
        { heading: 'WEIGHT', numeric: true },
        { heading: 'REPLICAS', numeric: true },
        { heading: 'LEADS', numeric: true },
        { heading: 'LOAD', numeric: true },
      ];
      print(
        io,
        renderTable(
          columns,
          shares.map(({ node, zone, pool, weight, replicas, leaders, load }) => [node, zone, ...(hasPools ? [pool] : []), weight, replicas, leaders, load.toFixed(2)]),
        ),
      );
    });
}

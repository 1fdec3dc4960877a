import { Option, type Command } from 'commander';
import { MigrationMethod } from '@atoll/contracts/atoll/v1/migration';
import { callUnary } from '@atoll/platform-grpc';
import { coordinatorAddresses } from '../connection/addresses.ts';
import { askCoordinator } from '../connection/admin-connection.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { migrationJson, partitionMigrationJson } from '../migration/migration-tables.ts';
import { jobOf, newRequestId } from '../migration/migration-request.ts';
import { stateName } from '../migration/migration-states.ts';
import { WATCH_PATIENCE_MS, watchMigration } from '../migration/watch-migration.ts';
import { adminCommand, type AdminFlags } from './admin.ts';
import type { SetExitCode } from './dev.ts';
import { byteRate, hostsAndPorts, requestId, tokenFields, tokenRange, wholeNumber, type TokenRangeFlag } from './options.ts';

interface CopyFlags extends AdminFlags {
  readonly partitions?: number;
  readonly replicationFactor?: number;
  readonly minInSync?: number;
  readonly pool?: string;
  readonly bytesPerSecond?: number;
  readonly range?: TokenRangeFlag;
  readonly fromCluster?: readonly string[];
  readonly id?: string;
  readonly dryRun?: boolean;
  readonly watch?: boolean;
}

export function copyCommand(io: Io, setExitCode: SetExitCode): Command {
  return adminCommand('copy', 'fill a new keyspace from another one, and have it follow what is written there')
    .argument('<source>', 'keyspace that is copied; it stays, and is served')
    .argument('<target>', 'keyspace that is made; nobody else can write to it, and cancelling removes it')
    .addOption(new Option('--partitions <count>', 'a power of two (default: as in the source)').argParser(wholeNumber(1, 4096)))
    .addOption(new Option('--replication-factor <count>', 'replicas per partition (default: as in the source)').argParser(wholeNumber(1, 7)))
    .addOption(new Option('--min-in-sync <count>', 'in-sync replicas without which nothing commits (default: as in the source, or by the replication factor)').argParser(wholeNumber(1, 7)))
    .addOption(new Option('--pool <name>', 'pool of storage nodes that is to hold it (default: that of the source; of one in another cluster, main)'))
    .addOption(new Option('--from-cluster <host:port,...>', 'routers of the cluster that has the source, with ROUTER_COPY_SOURCES=on (default: this cluster)').argParser(hostsAndPorts))
    .addOption(new Option('--range <start..end>', 'only keys whose tokens lie in it: in hex, without the last one; an empty end reaches to the last token (default: all)').argParser(tokenRange))
    .addOption(new Option('--bytes-per-second <bytes>', 'bound on what is copied, changes left out, over all nodes: 50MB (default: the bounds of the nodes)').argParser(byteRate))
    .addOption(new Option('--id <id>', 'name of the job: the same one again answers with the job that it made (default: made up)').argParser(requestId))
    .addOption(new Option('--dry-run', 'check what would be refused, and do nothing').conflicts('watch'))
    .addOption(new Option('--watch', 'go on as "atoll migrate watch"'))
    .addHelpText('after', '\nExample:\n  atoll migrate copy orders orders-wide --partitions 256 --replication-factor 3\n  atoll migrate copy orders orders --from-cluster 10.1.0.4:7400,10.1.0.5:7400')
    .action(async (source: string, target: string, flags: CopyFlags) => {
      const addresses = coordinatorAddresses(io, flags);
      const request = copyRequest(source, target, flags);
      const answer = await askCoordinator(addresses, flags.timeout, (client, settings) => callUnary(client, 'startMigration', request, settings));
      const migration = jobOf(answer);
      if (flags.json) {
        const shown = { migration: migrationJson(migration), partitions: answer.partitions.map(partitionMigrationJson) };
        if (flags.watch) print(io, JSON.stringify(shown));
        else printJson(io, shown);
      } else if (request.dryRun) print(io, `${source} would be copied to ${target}, of ${migration.partitionsTotal} partitions; nothing was done`);
      else print(io, `migration ${migration.id}: ${stateName(migration.state)}, ${source} is copied to ${target}, of ${migration.partitionsTotal} partitions`);
      if (request.dryRun) return;
      if (flags.watch) await watchMigration(io, setExitCode, addresses, migration.id, { patienceMs: Math.max(WATCH_PATIENCE_MS, flags.timeout), json: flags.json === true });
      else if (!flags.json) note(io, `atoll migrate show ${migration.id} shows how far it is behind its source`);
    });
}

function copyRequest(source: string, target: string, { id, partitions, replicationFactor, minInSync, pool, bytesPerSecond, range, fromCluster, dryRun }: CopyFlags) {
  return {
    id: id ?? newRequestId('copy'),
    method: MigrationMethod.MIGRATION_METHOD_COPY,
    keyspace: source,
    partitions: [],
    allKeyspaces: false,
    from: '',
    to: '',
    bytesPerSecond: bytesPerSecond ?? 0,
    fullVerify: false,
    shards: 0,
    dryRun: dryRun === true,
    sourceRouters: [...(fromCluster ?? [])],
    ...tokenFields(range),
    target: { name: target, partitionCount: partitions ?? 0, replicationFactor: replicationFactor ?? 0, minInSync: minInSync ?? 0, pool },
  };
}

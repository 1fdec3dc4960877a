import { setTimeout as pause } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { StandbyState, standbyStateToJSON, type Promotion, type StandbyStatus } from '@atoll/contracts/atoll/v1/standby';
import { callUnary } from '@atoll/platform-grpc';
import { usageError } from '../cli-error.ts';
import { coordinatorAddresses } from '../connection/addresses.ts';
import { askStandbys } from '../connection/admin-connection.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { bytesText } from '../output/quantities.ts';
import { renderTable } from '../output/table.ts';
import { adminCommand, type AdminFlags } from './admin.ts';
import type { SetExitCode } from './dev.ts';
import { byteRate, hostsAndPorts, keyspacesOption, wholeNumber } from './options.ts';

const MAX_PAUSE_MS_DEFAULT = 2000;
const PROMOTE_MS = 30_000;
const WATCH_MS = 1000;

interface CreateFlags extends AdminFlags {
  readonly fromCluster?: readonly string[];
  readonly pool?: string;
  readonly keyspaces?: readonly string[];
  readonly all?: boolean;
  readonly replicationFactor?: number;
  readonly bytesPerSecond?: number;
  readonly resync?: boolean;
}

interface PromoteFlags extends AdminFlags {
  readonly maxPauseMs: number;
  readonly primaryIsStopped?: string;
  readonly acceptIncomplete?: boolean;
  readonly withoutPrimary?: boolean;
}

export function standbyCommand(io: Io, setExitCode: SetExitCode): Command {
  return new Command('standby')
    .description('keyspaces that follow those of another cluster, or of another pool of nodes, and take their place when these are lost')
    .addCommand(createCommand(io))
    .addCommand(listCommand(io))
    .addCommand(showCommand(io))
    .addCommand(watchCommand(io))
    .addCommand(promoteCommand(io, setExitCode))
    .addCommand(fenceCommand(io, setExitCode))
    .addCommand(removeCommand(io));
}

function createCommand(io: Io): Command {
  return adminCommand('create', 'have keyspaces of another cluster followed here, each under its own name, or those of this one on another pool of its nodes')
    .addOption(new Option('--from-cluster <addresses>', 'host:port of routers of that cluster, separated by commas').argParser(hostsAndPorts))
    .addOption(new Option('--pool <name>', 'instead: keyspaces of this cluster are followed on the nodes of this pool, each as NAME-standby').conflicts('fromCluster'))
    .addOption(keyspacesOption('which ones'))
    .addOption(new Option('--all', 'all that there are now').conflicts('keyspaces'))
    .addOption(new Option('--replication-factor <count>', 'replicas per partition (default: as at the primary)').argParser(wholeNumber(1, 7)))
    .addOption(new Option('--bytes-per-second <bytes>', 'bound on what is copied of each, changes left out: 50MB (default: the bounds of the nodes)').argParser(byteRate))
    .addOption(new Option('--resync', 'keyspaces of these names that are here become standbys: only what differs is copied, and what the primary does not have is discarded'))
    .addHelpText('after', '\nExamples:\n  atoll backup standby create --from-cluster 10.1.0.4:7400,10.1.0.5:7400 --keyspaces orders,users\n  atoll backup standby create --from-cluster 10.2.0.4:7400 --keyspaces orders --resync\n  atoll backup standby create --pool standby --keyspaces orders')
    .action(async (flags: CreateFlags) => {
      if (flags.keyspaces === undefined && flags.all !== true) throw usageError('say which keyspaces: --keyspaces or --all');
      if (flags.fromCluster === undefined && flags.pool === undefined) throw usageError('say whose keyspaces: --from-cluster, or --pool for those of this cluster');
      const request = { sourceRouters: [...(flags.fromCluster ?? [])], pool: flags.pool ?? '', keyspaces: [...(flags.keyspaces ?? [])], all: flags.all === true, replicationFactor: flags.replicationFactor ?? 0, bytesPerSecond: flags.bytesPerSecond ?? 0, resync: flags.resync === true };
      const { standbys } = await askStandbys(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'createStandby', request, settings));
      if (flags.json) return printJson(io, { standbys: standbys.map(standbyJson) });
      for (const standby of standbys) print(io, `${standby.keyspace} follows ${standby.primary || standby.keyspace} of ${whereText(standby)}`);
      note(io, 'atoll backup standby list shows how far they are');
    });
}

async function ask(io: Io, flags: AdminFlags, keyspace: string): Promise<StandbyStatus[]> {
  return (await askStandbys(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'listStandbys', { keyspace }, settings))).standbys;
}

function listCommand(io: Io): Command {
  return adminCommand('list', 'standbys of this cluster, and keyspaces that were promoted').action(async (flags: AdminFlags) => {
    const standbys = await ask(io, flags, '');
    if (flags.json) printJson(io, { standbys: standbys.map(standbyJson) });
    else print(io, standbyTable(standbys));
  });
}

function showCommand(io: Io): Command {
  return adminCommand('show', 'one standby, with what it lacked when it was promoted')
    .argument('<keyspace>')
    .action(async (keyspace: string, flags: AdminFlags) => {
      const [standby] = await ask(io, flags, keyspace);
      if (flags.json) printJson(io, standbyJson(standby!));
      else show(io, standby!);
    });
}

function watchCommand(io: Io): Command {
  return adminCommand('watch', 'a line a second for each standby, until it is interrupted')
    .argument('[keyspace]', 'which one (default: all)', '')
    .addOption(new Option('--count <lines>', 'end after so many').argParser(wholeNumber(1, 1_000_000)))
    .action(async (keyspace: string, flags: AdminFlags & { readonly count?: number }) => {
      for (let line = 0; line < (flags.count ?? Infinity); line += 1) {
        if (line > 0) await pause(WATCH_MS);
        for (const standby of await ask(io, flags, keyspace)) print(io, flags.json ? JSON.stringify(standbyJson(standby)) : `${standby.keyspace}  ${stateText(standby)}  ${lagText(standby)}${standby.problem === '' ? '' : `  ${standby.problem}`}`);
      }
    });
}

function promoteCommand(io: Io, setExitCode: SetExitCode): Command {
  return adminCommand('promote', 'have a standby take writes; its primary takes none from then on')
    .argument('<keyspace>')
    .addOption(new Option('--max-pause-ms <ms>', 'longest time for which writes at the primary wait; after it all goes on as before').default(MAX_PAUSE_MS_DEFAULT).argParser(wholeNumber(100, 60_000)))
    .addOption(new Option('--primary-is-stopped <cluster or pool>', 'id of the primary cluster, or pool of the primary in this one, which cannot be reached: you state that no client writes there any more'))
    .addOption(new Option('--without-primary', 'of a primary in this cluster that does not answer: it is fenced, which may take COORDINATOR_FENCE_AFTER_MS, and what was not replicated is lost').conflicts('primaryIsStopped'))
    .addOption(new Option('--accept-incomplete', 'with --primary-is-stopped: also where partitions lack keys'))
    .addHelpText('after', '\nEnds with 0 when it takes writes, with 1 when that was given up, with 3 when it is still under way.\n\nExamples:\n  atoll backup standby promote orders\n  atoll backup standby promote orders --primary-is-stopped 5f3a09c1d2e4b678\n  atoll backup standby promote orders --without-primary')
    .action(async (keyspace: string, flags: PromoteFlags) => {
      const { maxPauseMs, primaryIsStopped = '', acceptIncomplete = false, withoutPrimary = false } = flags;
      const timeoutMs = Math.max(flags.timeout, maxPauseMs + PROMOTE_MS);
      const answer = await askStandbys(coordinatorAddresses(io, flags), timeoutMs, (client, settings) => callUnary(client, 'promoteStandby', { keyspace, maxPauseMs, primaryIsStopped, acceptIncomplete, withoutPrimary }, settings), timeoutMs);
      const standby = answer.standby!;
      if (standby.promotion === undefined) setExitCode(standby.state === StandbyState.STANDBY_STATE_PROMOTING ? EXIT_CODE.unavailable : EXIT_CODE.failed);
      if (flags.json) return printJson(io, standbyJson(standby));
      show(io, standby);
    });
}

function fenceCommand(io: Io, setExitCode: SetExitCode): Command {
  return adminCommand('fence', 'have the former primary of a promoted keyspace take no writes, now rather than within seconds')
    .argument('<keyspace>')
    .action(async (keyspace: string, flags: AdminFlags) => {
      const answer = await askStandbys(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'fencePrimary', { keyspace }, settings));
      const standby = answer.standby!;
      const isFenced = standby.promotion?.primaryFenced === true;
      if (!isFenced) setExitCode(EXIT_CODE.failed);
      if (flags.json) return printJson(io, standbyJson(standby));
      print(io, isFenced ? `${keyspace} of cluster ${standby.primaryCluster} takes no writes any more` : `${keyspace} of cluster ${standby.primaryCluster} may take writes still`);
    });
}

function removeCommand(io: Io): Command {
  return adminCommand('remove', 'end a standby, and delete what is here of it; of one that is promoted within this cluster, delete its former primary')
    .argument('<keyspace>')
    .action(async (keyspace: string, flags: AdminFlags) => {
      await askStandbys(coordinatorAddresses(io, flags), flags.timeout, (client, settings) => callUnary(client, 'removeStandby', { keyspace }, settings));
      if (flags.json) printJson(io, { keyspace });
      else print(io, `the standby of ${keyspace} is being removed`);
    });
}


const stateText = ({ state }: Pick<StandbyStatus, 'state'>): string => standbyStateToJSON(state).replace('STANDBY_STATE_', '');
const msText = (ms: number | undefined): string => (ms === undefined ? '-' : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(0)} s`);
const lagText = ({ lagMs, lagSeq }: StandbyStatus): string => `${msText(lagMs)} behind${lagSeq === undefined ? '' : `, ${lagSeq} entries`}`;

/** Where the primary is. */
const whereText = ({ primaryCluster, primaryPool }: Pick<StandbyStatus, 'primaryCluster' | 'primaryPool'>): string => (primaryPool === '' ? `cluster ${primaryCluster}` : `pool ${primaryPool}`);

const standbyJson = (standby: StandbyStatus) => ({ ...standby, state: stateText(standby) });

function standbyTable(standbys: readonly StandbyStatus[]): string {
  const columns = [{ heading: 'KEYSPACE' }, { heading: 'STATE' }, { heading: 'PRIMARY' }, { heading: 'FOLLOWING', numeric: true }, { heading: 'LAG', numeric: true }, { heading: 'LAG ENTRIES', numeric: true }, { heading: 'ENTRIES', numeric: true }, { heading: 'MEMORY', numeric: true }, { heading: 'PROBLEM' }];
  return renderTable(columns, standbys.map((standby) => {
    const { keyspace, primaryCluster, primaryPool, primary, partitions, following, lagMs, lagSeq, entries, bytes, problem, promotion } = standby;
    const notFenced = promotion?.primaryFenced === false ? 'the former primary has not been told yet' : '';
    return [keyspace, stateText(standby), primaryPool === '' ? primaryCluster : `${primary}, pool ${primaryPool}`, promotion === undefined ? `${following}/${partitions}` : '-', msText(lagMs), lagSeq ?? '-', entries, bytesText(bytes), problem || notFenced];
  }));
}

function show(io: Io, standby: StandbyStatus): void {
  const { keyspace, pool, primary, primaryPool, primaryRouters, partitions, following, entries, bytes, restarts, comparedEntries, differing, problem, promotion } = standby;
  const rows: [string, string][] = [
    ['standby', `${keyspace}, ${stateText(standby)}${primaryPool === '' ? '' : `, on pool ${pool}`}`],
    ['primary', primaryPool === '' ? `${whereText(standby)}, by ${primaryRouters.join(', ')}` : `${primary}, ${whereText(standby)}`],
  ];
  if (promotion === undefined) {
    rows.push(['following', `${following} of ${partitions} partitions, ${lagText(standby)}`], ['holds', `${entries} entries, ${bytesText(bytes)}`]);
    rows.push(['compared', comparedEntries === undefined ? 'not yet' : `${comparedEntries} entries, ${differing} sub-ranges differ`], ['began anew', `${restarts} times`]);
  } else rows.push(...promotionRows(keyspace, promotion));
  if (problem !== '') rows.push(['problem', problem]);
  for (const [name, value] of rows) print(io, `${name.padEnd(16)}${value}`);
}

function promotionRows(keyspace: string, { atMs, forced, pauseMs, missingKnown, ageMs, unknown, incomplete, primaryFenced }: Promotion): [string, string][] {
  const at: [string, string] = ['promoted', `${new Date(atMs).toISOString()}, ${forced ? 'without the primary' : `nothing is missing; writes waited for ${Math.round(pauseMs)} ms`}`];
  if (!forced) return [at];
  return [
    at,
    ['state', `up to ${msText(ageMs)} old: writes acknowledged at the primary since then are missing`],
    ['known to miss', `${missingKnown} log entries${unknown > 0 ? `; of ${unknown} partitions nothing is known` : ''}${incomplete > 0 ? `; ${incomplete} partitions lack keys` : ''}`],
    ['primary', primaryFenced ? 'takes no writes any more' : `has not been told: if it comes back, it takes writes until it hears of it (atoll backup standby fence ${keyspace})`],
  ];
}

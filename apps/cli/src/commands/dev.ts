import { rmSync } from 'node:fs';
import { constants } from 'node:os';
import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { messageOf, unavailable, usageError } from '../cli-error.ts';
import type { ClusterStatus, ProcessStatus } from '../dev/cluster-status.ts';
import { askSupervisor, type ControlRequest } from '../dev/control.ts';
import { DURABILITIES, STANDBY_POOL, ZONE_DEFAULT, planPools, type ClusterLayout, type Durability } from '../dev/layout.ts';
import { endLeftovers, waitForEnd } from '../dev/leftovers.ts';
import { BASE_PORT_DEFAULT, BASE_PORT_MAX, PROCESS_COUNT_MAX, findFreeBasePort } from '../dev/ports.ts';
import { isRunning, signalProcess } from '../dev/process-identity.ts';
import { RESTART_POLICIES, type RestartPolicy } from '../dev/restart-policy.ts';
import { readState, type ClusterState } from '../dev/state-file.ts';
import { renderStatus, stateText } from '../dev/status-view.ts';
import { STOP_TIMEOUT_MS } from '../dev/supervisor.ts';
import { upDetached, upInForeground, upSupervised, type UpOptions } from '../dev/up.ts';
import { findEtcd } from '../etcd/find-etcd.ts';
import type { ExitCode } from '../exit-code.ts';
import { note, print, printJson, type Io } from '../io.ts';
import { byteCount, jsonOption, names, positiveNumber, wholeNumber } from './options.ts';

/** Where commands leave their exit code. */
export type SetExitCode = (code: ExitCode) => void;

const DATA_DIR_DEFAULT = '.atoll';
const ASK_TIMEOUT_MS = 10_000;
/** A process that is started may wait for others: as long as `up` would. */
const START_TIMEOUT_MS = 90_000;
/** Stopping is done in at most five steps. */
const DOWN_TIMEOUT_MS = 5 * STOP_TIMEOUT_MS;
const READY_TIMEOUT_S_DEFAULT = 60;

export function devCommand(io: Io, setExitCode: SetExitCode): Command {
  const dev = new Command('dev').description('a whole real cluster on this machine, as local processes').addHelpText(
    'after',
    `
Ports, from --base-port B: routers B.., storage nodes B+10.., coordinators B+20.., backup B+30..,
etcd B+40 and B+41; HTTP (/metrics, /healthz, /readyz) on each gRPC port + 1000.

Examples:
  atoll dev up                                three storage nodes, in the foreground
  atoll dev up --detach --json                in the background; prints the addresses when it serves
  atoll dev up --base-port 7500 --data-dir b  a second cluster beside the first
  atoll dev kill node-2                       SIGKILL
  atoll dev start node-2                      the same node again
  atoll dev down`,
  );
  dev.addCommand(upCommand(io, setExitCode));
  dev.addCommand(statusCommand(io));
  dev.addCommand(addNodeCommand(io));
  dev.addCommand(
    processCommand(io, 'kill', 'send a signal to a process; it is not started again').addOption(
      new Option('--signal <signal>', 'which signal').default('SIGKILL').argParser(signalName),
    ),
  );
  dev.addCommand(processCommand(io, 'pause', 'freeze a process (SIGSTOP)'));
  dev.addCommand(processCommand(io, 'resume', 'let a paused process go on (SIGCONT)'));
  dev.addCommand(processCommand(io, 'stop', 'stop a process in good order (SIGTERM)'));
  dev.addCommand(processCommand(io, 'start', 'start a process that is not running: same id, ports and data'));
  dev.addCommand(downCommand(io));
  dev.addCommand(etcdCommand(io));
  dev.addCommand(superviseCommand(io, setExitCode), { hidden: true });
  return dev;
}

const dataDirOption = (): Option => new Option('--data-dir <dir>', 'which local cluster').default(DATA_DIR_DEFAULT).env('ATOLL_DATA_DIR');

interface UpFlags {
  nodes: number;
  standbyNodes: number;
  routers: number;
  coordinators: number;
  zones?: string[];
  memory?: number;
  durability?: Durability;
  replicationFactor?: number;
  basePort: number;
  dataDir: string;
  restart: RestartPolicy;
  logLevel?: string;
  readyTimeout: number;
  detach?: boolean;
  json?: boolean;
}

function upCommand(io: Io, setExitCode: SetExitCode): Command {
  const count = (max: number) => wholeNumber(1, max);
  return new Command('up')
    .description('start a cluster: etcd, storage nodes, routers, coordinators, backup')
    .addOption(new Option('--nodes <count>', 'storage nodes').default(3).argParser(count(PROCESS_COUNT_MAX['storage-node'])))
    .addOption(new Option('--standby-nodes <count>', `further storage nodes, of the pool "${STANDBY_POOL}": for standbys of keyspaces of the others`).default(0).argParser(wholeNumber(0, PROCESS_COUNT_MAX['storage-node'] - 1)))
    .addOption(new Option('--routers <count>', 'routers').default(1).argParser(count(PROCESS_COUNT_MAX.router)))
    .addOption(new Option('--coordinators <count>', 'coordinators').default(1).argParser(count(PROCESS_COUNT_MAX.coordinator)))
    .addOption(new Option('--zones <names>', `zones of the storage nodes, in turn (default: all in ${ZONE_DEFAULT})`).argParser(names))
    .addOption(new Option('--memory <bytes>', 'memory for entries per storage node, such as 512MiB').argParser(byteCount))
    .addOption(new Option('--durability <level>', 'of the keyspace "default" when it is created').choices(DURABILITIES))
    .addOption(new Option('--replication-factor <count>', 'of the keyspace "default" when it is created').argParser(wholeNumber(1, 7)))
    .addOption(new Option('--base-port <port>', 'first port; 0 looks for free ones').default(BASE_PORT_DEFAULT).argParser(wholeNumber(0, BASE_PORT_MAX)))
    .addOption(dataDirOption())
    .addOption(new Option('--restart <policy>', 'when a process ends by itself').choices(RESTART_POLICIES).default('no'))
    .addOption(new Option('--log-level <level>', 'of the services').choices(['trace', 'debug', 'info', 'warn', 'error', 'fatal']))
    .addOption(new Option('--ready-timeout <seconds>', 'time for everything to become ready').default(READY_TIMEOUT_S_DEFAULT).argParser(wholeNumber(1, 3600)))
    .addOption(new Option('--detach', 'return when the cluster serves; it goes on in the background'))
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
A data directory that already holds a cluster is started again as it was, with its data; options given now
win over what it was started with. etcd is taken from ATOLL_ETCD_BIN, PATH, a cached download of a pinned
release (checksum verified), or the package manager (root on Debian and Ubuntu).`,
    )
    .action(async (flags: UpFlags, command: Command) => {
      const dataDir = resolve(io.cwd, flags.dataDir);
      const given = (name: string): boolean => command.getOptionValueSource(name) !== 'default' && command.getOptionValueSource(name) !== undefined;
      const layout = await planLayout(flags, given, readState(dataDir)?.layout);
      const options: UpOptions = { dataDir, layout, json: flags.json === true, readyTimeoutMs: flags.readyTimeout * 1000 };
      setExitCode(await (flags.detach ? upDetached : upInForeground)(io, options));
    });
}

/** What is started: options given now, else what the data directory was started with, else the defaults. */
async function planLayout(flags: UpFlags, given: (name: string) => boolean, recorded: ClusterLayout | undefined): Promise<ClusterLayout> {
  const pick = <T>(name: string, flag: T, known: T | undefined): T => (given(name) || known === undefined ? flag : known);
  const basePort = pick('basePort', flags.basePort, recorded?.basePort);
  const known = recorded?.storageNodes;
  const nodes = pick('nodes', flags.nodes, known?.filter(({ pool }) => pool === undefined).length);
  const standbyNodes = pick('standbyNodes', flags.standbyNodes, known?.filter(({ pool }) => pool === STANDBY_POOL).length);
  const storageNodes = planPools({ nodes, standbyNodes, zones: flags.zones }, known);
  if (Math.max(...storageNodes.map(({ number }) => number)) > PROCESS_COUNT_MAX['storage-node']) throw usageError(`a local cluster has at most ${PROCESS_COUNT_MAX['storage-node']} storage nodes`);
  return {
    basePort: basePort === 0 ? await findFreeBasePort(process.pid) : basePort,
    routers: pick('routers', flags.routers, recorded?.routers),
    coordinators: pick('coordinators', flags.coordinators, recorded?.coordinators),
    backups: recorded?.backups ?? 1,
    storageNodes,
    memoryBytes: pick('memory', flags.memory, recorded?.memoryBytes),
    durability: pick('durability', flags.durability, recorded?.durability),
    replicationFactor: pick('replicationFactor', flags.replicationFactor, recorded?.replicationFactor),
    restart: pick('restart', flags.restart, recorded?.restart),
    logLevel: pick('logLevel', flags.logLevel, recorded?.logLevel),
  };
}

/** The supervisor that `up --detach` leaves in the background; it gets its options from its parent. */
function superviseCommand(io: Io, setExitCode: SetExitCode): Command {
  return new Command('supervise').action(async () => setExitCode(await upSupervised(io)));
}

function statusCommand(io: Io): Command {
  return new Command('status')
    .description('what runs, where, and how it is')
    .addOption(dataDirOption())
    .addOption(jsonOption())
    .action(async (flags: { dataDir: string; json?: boolean }) => {
      const { socket } = runningCluster(io, flags.dataDir);
      const status = await askSupervisor<ClusterStatus>(socket, { command: 'status' }, ASK_TIMEOUT_MS);
      if (flags.json) printJson(io, status);
      else print(io, renderStatus(status, Date.now()));
    });
}

function addNodeCommand(io: Io): Command {
  return new Command('add-node')
    .description('add a storage node and wait until it is ready')
    .addOption(new Option('--zone <name>', 'its zone (default: the one with the fewest nodes)').argParser((text) => names(text)[0]))
    .addOption(new Option('--weight <number>', 'its share of partitions relative to other nodes').default(1).argParser(positiveNumber))
    .addOption(new Option('--pool <name>', 'its pool (default: the main one)').argParser((text) => names(text)[0]))
    .addOption(dataDirOption())
    .addOption(jsonOption())
    .action(async (flags: { zone?: string; weight: number; pool?: string; dataDir: string; json?: boolean }) => {
      await askForProcess(io, flags, { command: 'add-node', zone: flags.zone, weight: flags.weight, pool: flags.pool });
    });
}

function processCommand(io: Io, name: 'kill' | 'pause' | 'resume' | 'stop' | 'start', description: string): Command {
  return new Command(name)
    .description(description)
    .argument('<process>', 'id as `atoll dev status` shows it: node-1, router-1, coordinator-1, backup-1, etcd')
    .addOption(dataDirOption())
    .addOption(jsonOption())
    .action(async (id: string, flags: { signal?: NodeJS.Signals; dataDir: string; json?: boolean }) => {
      await askForProcess(io, flags, { command: name, id, signal: flags.signal });
    });
}

async function askForProcess(io: Io, flags: { dataDir: string; json?: boolean }, request: ControlRequest): Promise<void> {
  const { socket } = runningCluster(io, flags.dataDir);
  const process = await askSupervisor<ProcessStatus>(socket, request, START_TIMEOUT_MS);
  if (flags.json) printJson(io, process);
  else print(io, `${process.id}: ${stateText(process)}${process.pid === null ? '' : `, pid ${process.pid}, ${process.address}`}`);
}

function downCommand(io: Io): Command {
  return new Command('down')
    .description('stop the cluster; its data stays, and `atoll dev up` with the same directory starts it again')
    .addOption(dataDirOption())
    .addOption(new Option('--delete-data', 'remove the data directory as well'))
    .action(async (flags: { dataDir: string; deleteData?: boolean }) => {
      const dataDir = resolve(io.cwd, flags.dataDir);
      const state = readState(dataDir);
      if (state === undefined) {
        note(io, `no cluster was started in ${dataDir}`);
        return;
      }
      await takeDown(io, state);
      // Deleted only where our own state file stood.
      if (flags.deleteData) rmSync(dataDir, { recursive: true, force: true });
    });
}

async function takeDown(io: Io, state: ClusterState): Promise<void> {
  const { supervisor } = state;
  if (supervisor !== undefined && isRunning(supervisor)) {
    try {
      await askSupervisor(state.socket, { command: 'down' }, DOWN_TIMEOUT_MS);
      await waitForEnd(supervisor);
    } catch (error) {
      note(io, `${messageOf(error)}; its processes are ended without it`);
      signalProcess(supervisor, 'SIGKILL');
    }
  }
  const ended = await endLeftovers(state.processes, STOP_TIMEOUT_MS);
  print(io, ended.length > 0 ? `stopped; ended what was left running: ${ended.join(', ')}` : 'stopped');
}

function etcdCommand(io: Io): Command {
  return new Command('etcd')
    .description('find etcd, or install it as `up` would, and print its path')
    .addOption(jsonOption())
    .action(async (flags: { json?: boolean }) => {
      const etcd = await findEtcd({ env: io.env, report: (line) => note(io, line) });
      if (flags.json) printJson(io, etcd);
      else print(io, etcd.path);
    });
}

/** Throws CliError when no supervisor runs in the directory. */
function runningCluster(io: Io, dir: string): ClusterState {
  const dataDir = resolve(io.cwd, dir);
  const state = readState(dataDir);
  if (state?.supervisor === undefined || !isRunning(state.supervisor)) {
    throw unavailable(`no cluster is running in ${dataDir}; start one with: atoll dev up --data-dir ${dir}`);
  }
  return state;
}

function signalName(text: string): string {
  const name = text.toUpperCase().startsWith('SIG') ? text.toUpperCase() : `SIG${text.toUpperCase()}`;
  if (!(name in constants.signals)) throw new InvalidArgumentError('It must be a signal such as SIGKILL, SIGTERM or SIGSTOP.');
  return name;
}

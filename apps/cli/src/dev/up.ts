// `atoll dev up`: in the foreground, or by way of a supervisor that is left in the background.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CliError, messageOf, usageError } from '../cli-error.ts';
import { findEtcd } from '../etcd/find-etcd.ts';
import { EXIT_CODE, type ExitCode } from '../exit-code.ts';
import { note, print, printJson, type Io } from '../io.ts';
import type { ClusterStatus } from './cluster-status.ts';
import { probeCluster } from './cluster-probe.ts';
import { serveControl, type ControlCommand, type ControlRequest } from './control.ts';
import type { ClusterLayout } from './layout.ts';
import { endLeftovers } from './leftovers.ts';
import { LiveView } from './live-view.ts';
import { serviceCommand } from './process-spec.ts';
import { readState, socketPath } from './state-file.ts';
import { renderStatus } from './status-view.ts';
import { lockDataDir } from './supervisor-lock.ts';
import { STOP_TIMEOUT_MS, Supervisor } from './supervisor.ts';

export interface UpOptions {
  /** Absolute. */
  readonly dataDir: string;
  readonly layout: ClusterLayout;
  readonly json: boolean;
  readonly readyTimeoutMs: number;
}

/** A second Ctrl-C this long after the first means "at once"; sooner it is the same one, passed on by npm. */
const HURRY_AFTER_MS = 1_000;

/** What the background supervisor tells the command that started it. */
type Verdict = { readonly ready: ClusterStatus } | { readonly failed: string; readonly exitCode: ExitCode };

/** Runs the cluster until a signal or `dev down`. */
export async function upInForeground(io: Io, options: UpOptions): Promise<ExitCode> {
  const live = io.stdout.isTTY === true && !options.json ? new LiveView(io) : undefined;
  const report = (line: string): void => {
    if (live === undefined) (options.json ? note : print)(io, line);
    else live.event(line);
  };
  await supervise(io, options, {
    report,
    onReady: async (supervisor, ended) => {
      const status = await supervisor.status();
      if (live !== undefined) return live.run(supervisor, ended);
      if (options.json) printJson(io, status);
      else print(io, `\n${renderStatus(status, Date.now())}\n\nready; Ctrl-C stops the cluster`);
    },
  });
  return EXIT_CODE.ok;
}

/** The supervisor in the background: its parent sends the options and gets one verdict; from then on it writes to its log. */
export async function upSupervised(io: Io): Promise<ExitCode> {
  if (process.send === undefined) throw usageError('`dev supervise` is for `atoll dev up --detach` alone');
  const [options] = (await once(process, 'message')) as [UpOptions];
  try {
    await supervise(io, options, {
      report: (line) => print(io, `${new Date().toISOString()} ${line}`),
      onReady: async (supervisor) => tellParent({ ready: await supervisor.status() }),
    });
    return EXIT_CODE.ok;
  } catch (error) {
    await tellParent({ failed: messageOf(error), exitCode: error instanceof CliError ? error.exitCode : EXIT_CODE.failed });
    throw error;
  }
}

function tellParent(verdict: Verdict): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) return resolve();
    process.send(verdict, () => {
      if (process.connected) process.disconnect();
      resolve();
    });
  });
}

/** Starts a supervisor that outlives this command and waits for its verdict. */
export async function upDetached(io: Io, options: UpOptions): Promise<ExitCode> {
  const logDir = join(options.dataDir, 'logs');
  mkdirSync(logDir, { recursive: true, mode: 0o700 });
  const log = openSync(join(logDir, 'supervisor.log'), 'a');
  const child = spawn(process.execPath, [commandEntry(), 'dev', 'supervise'], {
    cwd: io.cwd,
    env: { ...io.env },
    detached: true,
    stdio: ['ignore', log, log, 'ipc'],
  });
  closeSync(log);
  child.send(options);
  const cancel = (): void => void child.kill('SIGTERM');
  process.once('SIGINT', cancel);
  process.once('SIGTERM', cancel);
  try {
    const verdict = await new Promise<Verdict>((resolve) => {
      child.once('message', (message) => resolve(message as Verdict));
      child.once('error', (error) => resolve({ failed: `the supervisor could not be started: ${error.message}`, exitCode: EXIT_CODE.failed }));
      child.once('exit', (code) => resolve({ failed: `the supervisor ended (exit code ${code}); see ${join(logDir, 'supervisor.log')}`, exitCode: EXIT_CODE.failed }));
    });
    if ('failed' in verdict) throw new CliError(verdict.failed, { exitCode: verdict.exitCode });
    if (options.json) printJson(io, verdict.ready);
    else print(io, `${renderStatus(verdict.ready, Date.now())}\n\nready in the background; stop it with: atoll dev down --data-dir ${options.dataDir}`);
    return EXIT_CODE.ok;
  } finally {
    process.off('SIGINT', cancel);
    process.off('SIGTERM', cancel);
    if (child.connected) child.disconnect();
    child.unref();
  }
}

/** This command's own program: the source, or the bundle that this code stands in. */
function commandEntry(): string {
  const source = new URL('../main.ts', import.meta.url);
  return fileURLToPath(existsSync(source) ? source : import.meta.url);
}

interface Supervision {
  readonly report: (line: string) => void;
  /** The cluster serves; `ended` is set when it is being stopped. */
  readonly onReady: (supervisor: Supervisor, ended: AbortSignal) => Promise<void>;
}

async function supervise(io: Io, options: UpOptions, { report, onReady }: Supervision): Promise<void> {
  const { dataDir, layout, readyTimeoutMs } = options;
  const lock = lockDataDir(dataDir);
  try {
    const ended = await endLeftovers(readState(dataDir)?.processes ?? [], STOP_TIMEOUT_MS);
    if (ended.length > 0) report(`ended what an earlier supervisor left running: ${ended.join(', ')}`);
    const etcd = await findEtcd({ env: io.env, report });
    report(`etcd ${etcd.version} from ${etcd.source}: ${etcd.path}`);
    const supervisor = new Supervisor({ dataDir, layout, etcdPath: etcd.path, env: io.env, serviceCommand, report, probe: probeCluster, readyTimeoutMs });
    const signals = watchSignals(supervisor, report);
    const server = await serveControl(socketPath(dataDir), (request) => handleRequest(supervisor, request));
    try {
      await supervisor.up();
      const showing = onReady(supervisor, supervisor.ending);
      await supervisor.ended;
      await showing;
      report('the cluster is stopped');
    } catch (error) {
      // Stopped before it was ready: what the user asked for, no failure.
      if (!signals.stopAsked()) throw error;
      report('the cluster is stopped');
    } finally {
      await supervisor.down();
      server.close();
      signals.release();
    }
  } finally {
    lock.release();
  }
}

function handleRequest(supervisor: Supervisor, request: ControlRequest): Promise<unknown> {
  const { id = '', signal = 'SIGKILL', zone, weight, pool } = request;
  const handlers: Record<ControlCommand, () => Promise<unknown>> = {
    status: () => supervisor.status(),
    'add-node': () => supervisor.addNode({ zone, weight, pool }),
    kill: () => supervisor.kill(id, signal),
    pause: () => supervisor.pause(id),
    resume: () => supervisor.resume(id),
    stop: () => supervisor.stop(id),
    start: () => supervisor.start(id),
    down: () => supervisor.down(),
  };
  return handlers[request.command]();
}

/** SIGINT, SIGTERM and SIGHUP take the cluster down; a bug in the supervisor leaves no child behind. */
function watchSignals(supervisor: Supervisor, report: (line: string) => void): { stopAsked(): boolean; release(): void } {
  let firstAtMs: number | undefined;
  const stop = (signal: NodeJS.Signals): void => {
    if (firstAtMs === undefined) {
      firstAtMs = Date.now();
      report(`${signal}: stopping the cluster`);
      void supervisor.down();
    } else if (Date.now() - firstAtMs > HURRY_AFTER_MS) {
      supervisor.killAllNow();
    }
  };
  const atExit = (): void => supervisor.killAllNow();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, stop);
  process.on('exit', atExit);
  return {
    stopAsked: () => firstAtMs !== undefined,
    release: () => {
      for (const signal of signals) process.off(signal, stop);
      process.off('exit', atExit);
    },
  };
}

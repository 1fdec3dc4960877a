import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CliError } from '../cli-error.ts';
import { EXIT_CODE } from '../exit-code.ts';
import { identityOf, type ProcessIdentity } from './process-identity.ts';
import type { ProcessSpec } from './process-spec.ts';

/**
 * State of a process, as far as the supervisor has a hand in it:
 *
 *   stopped --start--> running --pause--> paused --resume--> running
 *   running/paused --stop--> stopping --> stopped     (asked for)
 *   running/paused --dev kill--> killed               (asked for)
 *   running/paused --ends by itself--> exited
 *   killed/exited/stopped --start--> running
 */
export type ProcessState = 'running' | 'paused' | 'stopping' | 'stopped' | 'killed' | 'exited';

/** How a process ended: `exit code 2`, `SIGKILL`. */
export type ExitText = string;

export interface ManagedProcessOptions {
  readonly spec: ProcessSpec;
  readonly logFile: string;
  /** After each change of state or pid; called before anything else can happen to the process. */
  readonly onChange: (process: ManagedProcess) => void;
  /** When it ended and nobody had asked for that. */
  readonly onUnexpectedExit: (process: ManagedProcess) => void;
}

/** Signals that are meant to end a process. */
const ENDING_SIGNALS: ReadonlySet<NodeJS.Signals> = new Set(['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGABRT', 'SIGHUP', 'SIGSEGV', 'SIGBUS']);

const READY_POLL_MS = 50;
const READY_REQUEST_TIMEOUT_MS = 1_000;
const LOG_TAIL_LINES = 8;
const LOG_TAIL_BYTES = 4_096;
/** A log larger than this is moved aside (`.1`) when its process is started. */
const LOG_BYTES_MAX = 64 * 1024 * 1024;

/** One child process: start, signals, readiness, end. It runs in a session of its own, so that a Ctrl-C in the terminal reaches the supervisor alone. */
export class ManagedProcess {
  readonly spec: ProcessSpec;
  readonly logFile: string;
  state: ProcessState = 'stopped';
  exit: ExitText | undefined;
  identity: ProcessIdentity | undefined;
  startedAtMs: number | undefined;
  /** Starts after the first one. */
  restarts = -1;
  readonly #options: ManagedProcessOptions;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #expected: 'stopped' | 'killed' | undefined;

  constructor(options: ManagedProcessOptions) {
    this.#options = options;
    this.spec = options.spec;
    this.logFile = options.logFile;
  }

  get isAlive(): boolean {
    return this.#child !== undefined;
  }

  /** Throws CliError when the program cannot be started at all. */
  start(): void {
    if (this.isAlive) throw new CliError(`${this.spec.id} is running already`);
    mkdirSync(dirname(this.logFile), { recursive: true });
    rotateLog(this.logFile);
    const log = openSync(this.logFile, 'a');
    let child: ChildProcess;
    try {
      child = spawn(this.spec.file, this.spec.args, { env: { ...this.spec.env }, stdio: ['ignore', log, log], detached: true });
    } finally {
      closeSync(log);
    }
    const { pid } = child;
    if (pid === undefined) {
      child.once('error', () => undefined);
      throw new CliError(`${this.spec.id}: ${this.spec.file} could not be started`);
    }
    this.#child = child;
    this.#expected = undefined;
    this.identity = identityOf(pid) ?? { pid, startedAt: 'ended' };
    this.startedAtMs = Date.now();
    this.exit = undefined;
    this.restarts += 1;
    this.#exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#ended(signal ?? `exit code ${code}`);
        resolve();
      });
    });
    this.#setState('running');
  }

  /** Resolves when readyUrl answers 200; throws CliError when the process ends first or `timeoutMs` passes. */
  async waitUntilReady(timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      if (!this.isAlive) throw this.#endedTooSoon();
      if (await this.isReady()) return;
      if (Date.now() > deadline) {
        throw new CliError(`${this.spec.id} was not ready after ${timeoutMs / 1000} s${this.logTail()}`);
      }
      await Promise.race([delay(READY_POLL_MS), this.#exited]);
    }
  }

  async isReady(): Promise<boolean> {
    if (!this.isAlive || this.state === 'paused') return false;
    try {
      const response = await fetch(this.spec.readyUrl, { signal: AbortSignal.timeout(READY_REQUEST_TIMEOUT_MS) });
      await response.arrayBuffer();
      return response.ok;
    } catch {
      return false;
    }
  }

  /** SIGTERM, and SIGKILL when it still runs after `timeoutMs`. True when it went by itself. */
  async stop(timeoutMs: number): Promise<boolean> {
    if (!this.isAlive) {
      if (this.state === 'exited' || this.state === 'killed') this.#setState('stopped');
      return true;
    }
    this.#expected = 'stopped';
    this.#setState('stopping');
    this.#send('SIGTERM');
    // A paused process meets the signal only once it goes on.
    this.#send('SIGCONT');
    if (await this.waitForExit(timeoutMs)) return true;
    this.#send('SIGKILL');
    await this.#exited;
    return false;
  }

  /** Sends a signal of the user's. The end that follows from it, if one does, is an expected one. */
  kill(signal: NodeJS.Signals): void {
    this.#expectAlive();
    if (ENDING_SIGNALS.has(signal)) this.#expected = 'killed';
    this.#send(signal);
  }

  pause(): void {
    this.#expectAlive();
    this.#send('SIGSTOP');
    this.#setState('paused');
  }

  resume(): void {
    this.#expectAlive();
    this.#send('SIGCONT');
    this.#setState('running');
  }

  /** True when it has ended, false when `timeoutMs` passed first. */
  async waitForExit(timeoutMs: number): Promise<boolean> {
    const timer = new AbortController();
    const ended = await Promise.race([
      this.#exited.then(() => true),
      delay(timeoutMs, false, { signal: timer.signal }).catch(() => false),
    ]);
    timer.abort();
    return ended;
  }

  /** Last resort when the supervisor itself goes down: no waiting, no reporting. */
  killNow(): void {
    this.#send('SIGKILL');
  }

  /** The end of the log, for messages; empty when there is none. */
  logTail(): string {
    try {
      const lines = readFileSync(this.logFile).subarray(-LOG_TAIL_BYTES).toString('utf8').trim().split('\n').slice(-LOG_TAIL_LINES);
      return `; its log ${this.logFile} ends with:\n${lines.map((line) => `  ${line}`).join('\n')}`;
    } catch {
      return '';
    }
  }

  /** Services end with 2 when a setting is wrong; then that is what is wrong with the whole. */
  #endedTooSoon(): CliError {
    const exitCode = this.exit === `exit code ${EXIT_CODE.usage}` ? EXIT_CODE.usage : EXIT_CODE.failed;
    return new CliError(`${this.spec.id} ended (${this.exit ?? 'not started'}) before it was ready${this.logTail()}`, { exitCode });
  }

  #expectAlive(): void {
    if (!this.isAlive) throw new CliError(`${this.spec.id} is not running (${this.state}${this.exit === undefined ? '' : `, ${this.exit}`})`);
  }

  /** Our own child that has not been reaped: its pid cannot belong to anyone else. */
  #send(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  #ended(exit: ExitText): void {
    this.#child = undefined;
    this.exit = exit;
    this.identity = undefined;
    this.startedAtMs = undefined;
    const expected = this.#expected;
    this.#setState(expected ?? 'exited');
    if (expected === undefined) this.#options.onUnexpectedExit(this);
  }

  #setState(state: ProcessState): void {
    this.state = state;
    this.#options.onChange(this);
  }
}

function rotateLog(file: string): void {
  try {
    if (statSync(file).size > LOG_BYTES_MAX) renameSync(file, `${file}.1`);
  } catch {
    // No log yet.
  }
}

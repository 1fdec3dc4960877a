import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A process as `atoll dev status --json` prints it, as far as is needed here. */
export interface DevProcess {
  readonly id: string;
  /** host:port of its gRPC server. */
  readonly address: string;
  readonly pid: number;
}

export interface DevClusterOptions {
  readonly nodes: number;
  /** Default 1. */
  readonly coordinators?: number;
  /** Memory for entries per node, such as 2GiB. Default: the node's. */
  readonly memory?: string;
  /** Settings of its services, beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

interface UpAnswer {
  /** URL. */
  readonly etcd: string;
  readonly routers: readonly DevProcess[];
  readonly coordinators: readonly DevProcess[];
  readonly storageNodes: readonly DevProcess[];
  readonly backups: readonly DevProcess[];
}

const CLI = fileURLToPath(new URL('../../../../apps/cli/src/main.ts', import.meta.url));

/** A cluster of its own on this machine: `atoll dev up` in a temporary directory, on free ports. */
export class DevCluster {
  readonly #dataDir: string;
  readonly #up: UpAnswer;
  #isStopped = false;

  private constructor(dataDir: string, up: UpAnswer) {
    this.#dataDir = dataDir;
    this.#up = up;
  }

  /** Resolves when it serves. What was started is taken down again when this fails. */
  static async start({ nodes, coordinators = 1, memory, env, signal }: DevClusterOptions): Promise<DevCluster> {
    const dataDir = mkdtempSync(join(tmpdir(), 'atoll-bench-'));
    const memoryArgs = memory === undefined ? [] : ['--memory', memory];
    try {
      const args = ['up', '--detach', '--json', '--base-port', '0', '--nodes', String(nodes), '--coordinators', String(coordinators), '--log-level', 'warn', '--data-dir', dataDir, ...memoryArgs];
      const answer = JSON.parse(await runDev(args, signal, env)) as UpAnswer;
      return new DevCluster(dataDir, answer);
    } catch (error) {
      await takeDown(dataDir);
      throw error;
    }
  }

  /** host:port. */
  get router(): string {
    return this.#up.routers[0]!.address;
  }

  /** host:port of its backup service. */
  get backup(): string {
    return this.#up.backups[0]!.address;
  }

  /** URL. */
  get etcd(): string {
    return this.#up.etcd;
  }

  get routerProcess(): DevProcess {
    return this.#up.routers[0]!;
  }

  get coordinators(): readonly DevProcess[] {
    return this.#up.coordinators;
  }

  get nodes(): readonly DevProcess[] {
    return this.#up.storageNodes;
  }

  /** As of now: pids change when processes are started again. */
  async status(): Promise<{ readonly storageNodes: readonly DevProcess[] }> {
    return JSON.parse(await runDev(['status', '--json', '--data-dir', this.#dataDir])) as UpAnswer;
  }

  /** SIGKILL. */
  async killProcess(id: string): Promise<void> {
    await runDev(['kill', id, '--json', '--data-dir', this.#dataDir]);
  }

  /** Resolves when it is ready. */
  async startProcess(id: string): Promise<void> {
    await runDev(['start', id, '--json', '--data-dir', this.#dataDir]);
  }

  /** Resolves when the node is ready. */
  async addNode(): Promise<DevProcess> {
    return JSON.parse(await runDev(['add-node', '--json', '--data-dir', this.#dataDir])) as DevProcess;
  }

  /** Ends every process of the cluster and removes its data. */
  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    await takeDown(this.#dataDir);
  }
}

/** Also where `up` was broken off before it had written anything down. */
async function takeDown(dataDir: string): Promise<void> {
  await runDev(['down', '--data-dir', dataDir]);
  rmSync(dataDir, { recursive: true, force: true });
}

/** Runs `atoll dev ...` and resolves with what it printed; rejects with what it complained about. */
function runDev(args: readonly string[], signal?: AbortSignal, env: Readonly<Record<string, string>> = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    // A group of its own: a Ctrl-C at the terminal reaches this process, which then takes the cluster down in order.
    const child = spawn(process.execPath, [CLI, 'dev', ...args], { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, ...env } });
    const onAbort = (): void => void child.kill('SIGTERM');
    signal?.addEventListener('abort', onAbort, { once: true });
    let out = '';
    let complaints = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text));
    child.once('error', reject);
    child.once('close', (code) => {
      signal?.removeEventListener('abort', onAbort);
      if (signal?.aborted === true) reject(signal.reason as Error);
      else if (code === 0) resolve(out);
      else reject(new Error(`atoll dev ${args[0]} ended with code ${code}: ${complaints.trim()}`));
    });
  });
}

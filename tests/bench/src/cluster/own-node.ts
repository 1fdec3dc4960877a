import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HTTP_PORT_OFFSET } from './metrics-scrape.ts';
import { NetworkGate, type GateMode } from './network-gate.ts';

export interface OwnNodeOptions {
  readonly id: string;
  /** URL of the cluster's etcd. */
  readonly etcd: string;
  /** Whether its connections pass gates, those that others open to it and those that it opens. */
  readonly isGated?: boolean;
}

/** When a process was started, and when it was registered and knew the cluster's records; performance.now(). */
export interface NodeStart {
  readonly startedMs: number;
  readonly registeredMs: number;
}

const PORT_MAX = 65_535;
const READY_MS = 60_000;
const STOP_MS = 30_000;
const POLL_MS = 10;
/** Why a node that is registered is not ready: replicas are missing, here or elsewhere. */
const LACKS = / replicas? /;
const MAIN = fileURLToPath(new URL('../../../../apps/storage-node/src/main.ts', import.meta.url));
const OUTWARD = new URL('outward-connections.ts', import.meta.url).href;

/** A storage node that this process starts itself, beside those of `atoll dev`: for times of its start, and to cut it off. */
export class OwnNode {
  readonly id: string;
  /** host:port at which its own process listens, whatever it advertises. */
  readonly address: string;
  readonly #settings: Readonly<Record<string, string>>;
  readonly #dataDir: string;
  readonly #gates: readonly NetworkGate[];
  readonly #nodeArgs: readonly string[];
  #child: ChildProcess | undefined;

  private constructor(options: OwnNodeOptions, port: number, inward?: NetworkGate, outward?: NetworkGate) {
    this.id = options.id;
    this.address = `127.0.0.1:${port}`;
    this.#dataDir = mkdtempSync(join(tmpdir(), 'atoll-bench-node-'));
    this.#gates = [inward, outward].filter((gate) => gate !== undefined);
    // The flags of `atoll dev`, so that its nodes and this one can be compared.
    this.#nodeArgs = ['--initial-heap-size=512', ...(outward === undefined ? [] : ['--import', OUTWARD])];
    this.#settings = {
      ATOLL_ID: options.id,
      ATOLL_ETCD: options.etcd,
      ATOLL_LISTEN: this.address,
      ATOLL_ADVERTISE: inward?.address ?? this.address,
      ATOLL_HTTP_LISTEN: `127.0.0.1:${port + HTTP_PORT_OFFSET}`,
      ATOLL_LOG_LEVEL: 'warn',
      STORAGE_NODE_DATA_DIR: this.#dataDir,
      ...(outward !== undefined && { BENCH_OUTWARD_GATE: outward.address }),
    };
  }

  /** Resolves when it is registered. */
  static async start(options: OwnNodeOptions): Promise<OwnNode> {
    const port = await freePort();
    const gates = options.isGated === true ? [await NetworkGate.open(`127.0.0.1:${port}`), await NetworkGate.openOutward()] : [];
    const node = new OwnNode(options, port, ...gates);
    try {
      await node.launch();
      return node;
    } catch (error) {
      await node.stop();
      throw error;
    }
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  /** What its network does, in both directions: to clients, peers, coordinators and etcd alike. Only with `isGated`. */
  setNetwork(mode: GateMode): void {
    if (this.#gates.length === 0) throw new Error(`${this.id} has no gates`);
    for (const gate of this.#gates) gate.set(mode);
  }

  /** Starts the process, with the data that is there. */
  async launch(): Promise<NodeStart> {
    const startedMs = performance.now();
    this.#child = spawn(process.execPath, [...this.#nodeArgs, MAIN], { env: { PATH: process.env['PATH'], ...this.#settings }, stdio: ['ignore', 'ignore', 'inherit'] });
    while (!(await this.#isRegistered())) {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) throw new Error(`${this.id} ended with ${this.#child.exitCode ?? this.#child.signalCode}`);
      if (performance.now() - startedMs > READY_MS) throw new Error(`${this.id} is not registered after ${READY_MS / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return { startedMs, registeredMs: performance.now() };
  }

  /** It is ready only when partitions have got back what they lack: that is measured. */
  async #isRegistered(): Promise<boolean> {
    try {
      const answer = await fetch(`http://${this.#settings['ATOLL_HTTP_LISTEN']}/readyz`, { signal: AbortSignal.timeout(1000) });
      const { ready, reasons } = (await answer.json()) as { readonly ready: boolean; readonly reasons: readonly string[] };
      return ready || reasons.every((reason) => LACKS.test(reason));
    } catch {
      return false;
    }
  }

  /** Resolves when the process is gone. SIGKILL follows when it does not end. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await ended;
    clearTimeout(timer);
  }

  /** Ends the process and removes its data. */
  async stop(): Promise<void> {
    await this.end('SIGKILL');
    for (const gate of this.#gates) await gate.close();
    rmSync(this.#dataDir, { recursive: true, force: true });
  }
}

/** A port that nothing listens on now, nor on its port for HTTP. */
async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const isFree = port + HTTP_PORT_OFFSET <= PORT_MAX && (await isListenable(port + HTTP_PORT_OFFSET));
    server.close();
    await once(server, 'close');
    if (isFree) return port;
  }
}

async function isListenable(port: number): Promise<boolean> {
  const server = createServer();
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}

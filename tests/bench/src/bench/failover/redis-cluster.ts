// A Redis Cluster of three masters and three replicas on free ports of this machine, and a client that knows its slots.
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '@atoll/platform-etcd/testing';
import { createClient } from 'redis';
import { endChild } from '../workers/generator-process.ts';
import { slotOfKey } from './redis-slot.ts';
import type { ProbeTarget } from './write-probe.ts';

const NODES = 6;
const READY_MS = 60_000;
const POLL_MS = 50;
/** A call that is not answered for so long is tried again elsewhere, as clients with a socket time-out do. */
const ATTEMPT_MS = 1000;
const WRITE_MS = 60_000;

type Connection = ReturnType<typeof createClient>;

interface RedisNode {
  readonly port: number;
  readonly directory: string;
  process: ChildProcess | undefined;
  readonly connection: Connection;
}

export interface RedisMaster {
  readonly port: number;
  readonly pid: number;
  /** Its number among the masters: what `slotOf` answers for its keys until the next failover. */
  readonly owner: number;
}

/** undefined where redis-server or redis-cli is missing. */
export function hasRedisCluster(): boolean {
  return ['redis-server', 'redis-cli'].every((command) => spawnSync(command, ['--version']).status === 0);
}

export class RedisCluster implements ProbeTarget {
  readonly #directory = mkdtempSync(join(tmpdir(), 'atoll-bench-redis-cluster-'));
  readonly #nodeTimeoutMs: number;
  readonly #nodes: RedisNode[] = [];
  /** Port by slot. */
  #owners: number[] = [];
  #refreshing: Promise<void> | undefined;
  /** Masters at the start of the round, for `slotOf`. */
  #masters: number[] = [];
  #ownersAtStart: number[] = [];

  private constructor(nodeTimeoutMs: number) {
    this.#nodeTimeoutMs = nodeTimeoutMs;
  }

  static async start(options: { nodeTimeoutMs: number }): Promise<RedisCluster> {
    const cluster = new RedisCluster(options.nodeTimeoutMs);
    try {
      await cluster.#open();
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  async #open(): Promise<void> {
    for (let index = 0; index < NODES; index += 1) {
      const port = await freePort();
      const directory = join(this.#directory, String(port));
      mkdirSync(directory);
      const connection = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: () => POLL_MS }, disableOfflineQueue: true });
      connection.on('error', () => undefined);
      const node: RedisNode = { port, directory, process: undefined, connection };
      this.#nodes.push(node);
      this.#launch(node);
      await connection.connect();
    }
    const addresses = this.#nodes.map(({ port }) => `127.0.0.1:${port}`);
    execFileSync('redis-cli', ['--cluster', 'create', ...addresses, '--cluster-replicas', '1', '--cluster-yes'], { stdio: 'ignore', timeout: READY_MS });
    await this.untilRedundant(AbortSignal.timeout(READY_MS));
  }

  #launch(node: RedisNode): void {
    node.process = launchClusterNode({ ...node, nodeTimeoutMs: this.#nodeTimeoutMs });
  }

  /** Starts what was killed. */
  restart(port: number): void {
    this.#launch(this.#nodes.find((node) => node.port === port)!);
  }

  /** A master; which one grows with `round`. */
  master(round: number): RedisMaster {
    const owner = round % this.#masters.length;
    const port = this.#masters[owner]!;
    return { port, owner, pid: this.#nodes.find((node) => node.port === port)!.process!.pid! };
  }

  slotOf(key: string): number {
    return this.#masters.indexOf(this.#ownersAtStart[slotOfKey(key)]!);
  }

  async write(key: string, value: string): Promise<void> {
    await this.#call(key, (connection) => connection.set(key, value));
  }

  async read(key: string): Promise<string | undefined> {
    return (await this.#call(key, (connection) => connection.get(key))) ?? undefined;
  }

  async #call<T>(key: string, call: (connection: Connection) => Promise<T>): Promise<T> {
    const deadline = performance.now() + WRITE_MS;
    for (;;) {
      const port = this.#owners[slotOfKey(key)]!;
      try {
        const { connection } = this.#nodes.find((node) => node.port === port)!;
        return await within(call(connection), ATTEMPT_MS);
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await this.#refresh(port);
      }
    }
  }

  /** Asks anybody but `except` who owns what, at most every `POLL_MS`. */
  #refresh(except: number): Promise<void> {
    this.#refreshing ??= (async (): Promise<void> => {
      for (const { port, connection } of this.#nodes) {
        if (port === except || !connection.isReady) continue;
        try {
          this.#takeSlots(await within(connection.sendCommand<SlotRange[]>(['CLUSTER', 'SLOTS']), ATTEMPT_MS));
          break;
        } catch {
          // the next one
        }
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      this.#refreshing = undefined;
    })();
    return this.#refreshing;
  }

  #takeSlots(ranges: readonly SlotRange[]): void {
    for (const [first, last, [, port]] of ranges) for (let slot = first; slot <= last; slot += 1) this.#owners[slot] = port;
  }

  /** Resolves when every slot has a master with a replica that is connected to it. */
  async untilRedundant(signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      try {
        const infos = await Promise.all(this.#nodes.map(({ connection }) => within(connection.sendCommand<string>(['INFO', 'replication']), ATTEMPT_MS)));
        const states = await Promise.all(this.#nodes.map(({ connection }) => within(connection.sendCommand<string>(['CLUSTER', 'INFO']), ATTEMPT_MS)));
        const replicas = infos.filter((info) => info.includes('master_link_status:up')).length;
        if (replicas === NODES / 2 && states.every((state) => state.includes('cluster_state:ok'))) break;
      } catch {
        // one of them is away still
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    await this.#refresh(0);
    this.#ownersAtStart = [...this.#owners];
    this.#masters = [...new Set(this.#owners)].toSorted((left, right) => left - right);
  }

  async stop(): Promise<void> {
    for (const { connection, process } of this.#nodes) {
      connection.destroy();
      if (process !== undefined) {
        process.kill('SIGCONT');
        await endChild(process);
      }
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** A redis-server that keeps nothing on disk but what it knows of its cluster. */
export function launchClusterNode({ port, directory, nodeTimeoutMs }: { readonly port: number; readonly directory: string; readonly nodeTimeoutMs: number }): ChildProcess {
  const bus = port + 10_000 > 65_535 ? port - 10_000 : port + 10_000;
  const args = ['--port', port, '--cluster-port', bus, '--bind', '127.0.0.1', '--dir', directory, '--save', '', '--appendonly', 'no'];
  const settings = ['--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf', '--cluster-node-timeout', nodeTimeoutMs];
  return spawn('redis-server', [...args, ...settings].map(String), { stdio: 'ignore', detached: true });
}

/** First slot, last slot, and of each node that serves them its address and port, the master first. */
export type SlotRange = readonly [number, number, readonly [string, number]];

async function within<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

// The peer of migrations: a Redis Cluster of three masters with data, to which a fourth, empty one is added, and
// `redis-cli --cluster rebalance --cluster-use-empty-masters`, which moves a fourth of the slots to it.
import { execFile, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from '@atoll/platform-etcd/testing';
import { createClient } from 'redis';
import { makeValue } from '../../value-pattern.ts';
import { launchClusterNode, type SlotRange } from '../failover/redis-cluster.ts';
import { slotOfKey } from '../failover/redis-slot.ts';
import { endChild } from '../workers/generator-process.ts';

export interface Rebalanced {
  readonly entries: number;
  /** Of keys and values. */
  readonly bytes: number;
  /** Of the whole command. */
  readonly elapsedMs: number;
}

const MASTERS = 3;
const NODE_TIMEOUT_MS = 15_000;
const POLL_MS = 50;
const READY_MS = 60_000;
const REBALANCE_MS = 1_800_000;
const SETS_AT_ONCE = 512;
const WRITE_NUMBER = 1;

const run = promisify(execFile);

interface Master {
  readonly port: number;
  readonly process: ChildProcess;
  readonly connection: ReturnType<typeof createClient>;
}

export class RedisRebalance {
  readonly #directory = mkdtempSync(join(tmpdir(), 'atoll-bench-redis-rebalance-'));
  readonly #masters: Master[] = [];

  /** Three masters, and their share of the keys key-0 to key-(entries - 1) in each. */
  async load({ entries, valueBytes, signal }: { readonly entries: number; readonly valueBytes: number; readonly signal: AbortSignal }): Promise<void> {
    for (let index = 0; index < MASTERS; index += 1) await this.#launch();
    await this.#cli(['create', ...this.#masters.map(addressOf), '--cluster-replicas', '0', '--cluster-yes'], READY_MS);
    await this.#untilOk(signal);
    const ranges = await this.#masters[0]!.connection.sendCommand<SlotRange[]>(['CLUSTER', 'SLOTS']);
    const bySlot: Master[] = [];
    for (const [first, last, [, port]] of ranges) {
      const master = this.#masters.find((candidate) => candidate.port === port)!;
      for (let slot = first; slot <= last; slot += 1) bySlot[slot] = master;
    }
    let next = 0;
    const writer = async (): Promise<void> => {
      for (let index = next++; index < entries; index = next++) {
        signal.throwIfAborted();
        const key = `key-${index}`;
        await bySlot[slotOfKey(key)]!.connection.set(key, makeValue(key, WRITE_NUMBER, valueBytes));
      }
    };
    await Promise.all(Array.from({ length: SETS_AT_ONCE }, writer));
  }

  /** A fourth master gets its share. */
  async rebalance({ entries, valueBytes, signal }: { readonly entries: number; readonly valueBytes: number; readonly signal: AbortSignal }): Promise<Rebalanced> {
    const first = this.#masters[0]!;
    const added = await this.#launch();
    await this.#cli(['add-node', addressOf(added), addressOf(first)], READY_MS);
    await this.#untilOk(signal);
    const startMs = performance.now();
    await this.#cli(['rebalance', addressOf(first), '--cluster-use-empty-masters'], REBALANCE_MS, signal);
    const elapsedMs = performance.now() - startMs;
    const moved = await added.connection.dbSize();
    if (moved < entries / 8) throw new Error(`redis-cli moved ${moved} of ${entries} keys`);
    return { entries: moved, bytes: moved * (valueBytes + `key-${entries}`.length - 1), elapsedMs };
  }

  async stop(): Promise<void> {
    for (const { connection, process } of this.#masters) {
      connection.destroy();
      await endChild(process);
    }
    this.#masters.length = 0;
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #launch(): Promise<Master> {
    const port = await freePort();
    const directory = join(this.#directory, String(port));
    mkdirSync(directory);
    const connection = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: () => POLL_MS }, commandsQueueMaxLength: 100_000 });
    connection.on('error', () => undefined);
    const master = { port, process: launchClusterNode({ port, directory, nodeTimeoutMs: NODE_TIMEOUT_MS }), connection };
    this.#masters.push(master);
    await connection.connect();
    return master;
  }

  async #cli(args: readonly string[], timeoutMs: number, signal?: AbortSignal): Promise<void> {
    await run('redis-cli', ['--cluster', ...args], { timeout: timeoutMs, signal, maxBuffer: 64 * 1024 * 1024 });
  }

  /** Every master knows every other one, and all slots are served. */
  async #untilOk(signal: AbortSignal): Promise<void> {
    const deadlineMs = performance.now() + READY_MS;
    for (;;) {
      signal.throwIfAborted();
      const infos = await Promise.all(this.#masters.map(({ connection }) => connection.sendCommand<string>(['CLUSTER', 'INFO'])));
      if (infos.every((info) => info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${this.#masters.length}`))) return;
      if (performance.now() > deadlineMs) throw new Error('the Redis Cluster did not get ready');
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}

const addressOf = ({ port }: Pick<Master, 'port'>): string => `127.0.0.1:${port}`;

import { setTimeout as pause } from 'node:timers/promises';
import { DevCluster } from '../../cluster/dev-cluster.ts';
import { scrape } from '../../cluster/metrics-scrape.ts';
import { cpuTimeMs } from '../cpu-time.ts';
import { fill, type BenchContext } from '../section.ts';
import { GeneratorProcess } from '../workers/generator-process.ts';
import type { Round } from '../workers/generator-protocol.ts';
import type { Turn } from './overhead.ts';

/** How operations are sent. */
export type Way = 'sdk' | 'unary';

export interface MeasuredTurn extends Turn {
  readonly failed: number;
}

const NODES = 3;

/** A cluster with a load generator of its own, whose services' CPU time is known in its turns, at rest, and while its metrics are read. */
export class MeasuredCluster {
  readonly #cluster: DevCluster;
  readonly #generator: GeneratorProcess;
  readonly #connections: Readonly<Record<Way, number>>;
  /** Router, storage nodes and coordinator. */
  readonly #addresses: readonly string[];
  readonly #pids: readonly number[];
  #idleMsPerSecond = 0;
  #scrapes = { cpuMs: 0, count: 0 };

  private constructor(cluster: DevCluster, generator: GeneratorProcess, connections: Readonly<Record<Way, number>>) {
    this.#cluster = cluster;
    this.#generator = generator;
    this.#connections = connections;
    const services = [cluster.routerProcess, ...cluster.nodes, ...cluster.coordinators];
    this.#addresses = services.map(({ address }) => address);
    this.#pids = services.map(({ pid }) => pid);
  }

  /** `env`: settings of all its services. It holds `keys` values when this resolves. */
  static async start({ cleanUp, signal }: BenchContext, options: { readonly env: Readonly<Record<string, string>>; readonly keys: number; readonly valueBytes: number }): Promise<MeasuredCluster> {
    const { env } = options;
    const cluster = await DevCluster.start({ nodes: NODES, memory: '256MiB', env, signal });
    cleanUp.add(() => cluster.stop());
    const generator = await GeneratorProcess.start();
    cleanUp.add(() => generator.stop());
    const connections = { sdk: await generator.connect({ kind: 'atoll', router: cluster.router }), unary: await generator.connect({ kind: 'unary', address: cluster.router }) };
    await fill(generator, options, connections.sdk);
    return new MeasuredCluster(cluster, generator, connections);
  }

  async turn(way: Way, round: Round): Promise<MeasuredTurn> {
    const startMs = performance.now();
    const startCpuMs = cpuTimeMs(this.#pids);
    const { operations, errors } = await this.#generator.run(round, this.#connections[way]);
    return { operations, elapsedMs: performance.now() - startMs, cpuMs: cpuTimeMs(this.#pids) - startCpuMs, failed: Object.values(errors).reduce((total, count) => total + count, 0) };
  }

  /** A time in which nobody calls. */
  async rest(durationMs: number, signal: AbortSignal): Promise<void> {
    const startMs = performance.now();
    const startCpuMs = cpuTimeMs(this.#pids);
    await pause(durationMs, undefined, { signal });
    this.#idleMsPerSecond = (1000 * (cpuTimeMs(this.#pids) - startCpuMs)) / (performance.now() - startMs);
  }

  /** Reads the metrics of every service once, which must not fail. Between turns. */
  async readMetrics(): Promise<void> {
    const cpuMs = cpuTimeMs(this.#pids);
    await Promise.all(this.#addresses.map((address) => scrape(address)));
    this.#scrapes = { cpuMs: this.#scrapes.cpuMs + cpuTimeMs(this.#pids) - cpuMs, count: this.#scrapes.count + 1 };
  }

  /** CPU time in its rest, in ms per second. */
  get idleMsPerSecond(): number {
    return this.#idleMsPerSecond;
  }

  /** CPU time of one reading of all its metrics, on average. */
  get scrapeCpuMs(): number {
    return this.#scrapes.cpuMs / Math.max(1, this.#scrapes.count);
  }

  async stop(): Promise<void> {
    await this.#generator.stop();
    await this.#cluster.stop();
  }
}

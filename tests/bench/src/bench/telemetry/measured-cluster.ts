import { DevCluster } from '../../cluster/dev-cluster.ts';
import { scrape } from '../../cluster/metrics-scrape.ts';
import { cpuTimeMs } from '../cpu-time.ts';
import { fill, type BenchContext } from '../section.ts';
import type { GeneratorProcess } from '../workers/generator-process.ts';
import type { Round } from '../workers/generator-protocol.ts';
import type { Turn } from './overhead.ts';

/** How operations are sent. */
export type Way = 'sdk' | 'unary';

export interface MeasuredTurn extends Turn {
  readonly failed: number;
}

const NODES = 3;

/** A cluster whose services' CPU time is known in its turns, between them, and while its metrics are read. */
export class MeasuredCluster {
  readonly #cluster: DevCluster;
  readonly #generator: GeneratorProcess;
  readonly #connections: Readonly<Record<Way, number>>;
  /** Router, storage nodes and coordinator. */
  readonly #addresses: readonly string[];
  readonly #pids: readonly number[];
  #lastTurn: { readonly endMs: number; readonly cpuMs: number } | undefined;
  #idle = { cpuMs: 0, elapsedMs: 0 };
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
  static async start({ cleanUp, signal }: BenchContext, options: { readonly env: Readonly<Record<string, string>>; readonly generator: GeneratorProcess; readonly keys: number; readonly valueBytes: number }): Promise<MeasuredCluster> {
    const { env, generator } = options;
    const cluster = await DevCluster.start({ nodes: NODES, memory: '256MiB', env, signal });
    cleanUp.add(() => cluster.stop());
    const connections = { sdk: await generator.connect({ kind: 'atoll', router: cluster.router }), unary: await generator.connect({ kind: 'unary', address: cluster.router }) };
    await fill(generator, options, connections.sdk);
    return new MeasuredCluster(cluster, generator, connections);
  }

  async turn(way: Way, round: Round): Promise<MeasuredTurn> {
    const startMs = performance.now();
    const startCpuMs = cpuTimeMs(this.#pids);
    if (this.#lastTurn !== undefined) this.#idle = { cpuMs: this.#idle.cpuMs + startCpuMs - this.#lastTurn.cpuMs, elapsedMs: this.#idle.elapsedMs + startMs - this.#lastTurn.endMs };
    const { operations, errors } = await this.#generator.run(round, this.#connections[way]);
    const endMs = performance.now();
    const endCpuMs = cpuTimeMs(this.#pids);
    this.#lastTurn = { endMs, cpuMs: endCpuMs };
    return { operations, elapsedMs: endMs - startMs, cpuMs: endCpuMs - startCpuMs, failed: Object.values(errors).reduce((total, count) => total + count, 0) };
  }

  /** Reads the metrics of every service once, which must not fail. Between turns; it counts as no idle time. */
  async readMetrics(): Promise<void> {
    const startMs = performance.now();
    const cpuMs = cpuTimeMs(this.#pids);
    await Promise.all(this.#addresses.map((address) => scrape(address)));
    const tookMs = cpuTimeMs(this.#pids) - cpuMs;
    this.#scrapes = { cpuMs: this.#scrapes.cpuMs + tookMs, count: this.#scrapes.count + 1 };
    if (this.#lastTurn !== undefined) this.#lastTurn = { endMs: this.#lastTurn.endMs + performance.now() - startMs, cpuMs: this.#lastTurn.cpuMs + tookMs };
  }

  /** CPU time between its turns, in ms per second. */
  get idleMsPerSecond(): number {
    return (1000 * this.#idle.cpuMs) / Math.max(1, this.#idle.elapsedMs);
  }

  /** CPU time of one reading of all its metrics, on average. */
  get scrapeCpuMs(): number {
    return this.#scrapes.cpuMs / Math.max(1, this.#scrapes.count);
  }

  stop(): Promise<void> {
    return this.#cluster.stop();
  }
}

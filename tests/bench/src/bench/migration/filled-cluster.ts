import type { PartitionMigration } from '@atoll/contracts/atoll/v1/migration';
import { MigrationState } from '@atoll/contracts/atoll/v1/migration';
import { ClusterAdmin } from '../../cluster/cluster-admin.ts';
import { DevCluster, type DevProcess } from '../../cluster/dev-cluster.ts';
import { readMetric } from '../../cluster/metrics-scrape.ts';
import { readTopology } from '../../cluster/topology.ts';
import { fill, type BenchContext } from '../section.ts';
import { GeneratorProcess } from '../workers/generator-process.ts';

export interface FilledClusterOptions {
  readonly entries: number;
  readonly valueBytes: number;
  readonly coordinators?: number;
  readonly env: Readonly<Record<string, string>>;
}

/** What one or more migrations brought to their targets, from the beginning of the first to the end of the last. */
export interface Moved {
  readonly entries: number;
  /** Of keys and values. */
  readonly bytes: number;
  readonly elapsedMs: number;
  /** On the clock of `performance.now()`. */
  readonly beganMs: number;
  readonly partitions: readonly PartitionMigration[];
}

export const entriesPerSecond = ({ entries, elapsedMs }: Pick<Moved, 'entries' | 'elapsedMs'>): number => (entries / elapsedMs) * 1000;
export const megabytesPerSecond = ({ bytes, elapsedMs }: Pick<Moved, 'bytes' | 'elapsedMs'>): number => bytes / 1000 / elapsedMs;

const MEMORY = '3GiB';
const WATCH_MS = 900_000;
const POLL_MS = 50;
/** Migrations begin one after the other: so long without another one, and all of them have begun. */
const QUIET_MS = 1500;

/** Three nodes with data, and a fourth that joins, is emptied and filled again: by the coordinator's own migrations. */
export class FilledCluster {
  readonly cluster: DevCluster;
  readonly admin: ClusterAdmin;
  readonly #signal: AbortSignal;
  #fourth: DevProcess | undefined;

  private constructor(cluster: DevCluster, signal: AbortSignal) {
    this.cluster = cluster;
    this.admin = new ClusterAdmin(cluster);
    this.#signal = signal;
  }

  static async start({ cleanUp, signal }: BenchContext, { entries, valueBytes, coordinators, env }: FilledClusterOptions): Promise<FilledCluster> {
    const filled = new FilledCluster(await DevCluster.start({ nodes: 3, coordinators, memory: MEMORY, env, signal }), signal);
    cleanUp.add(() => filled.stop());
    const writer = await GeneratorProcess.start({ kind: 'atoll', router: filled.cluster.router });
    cleanUp.add(() => writer.stop());
    await fill(writer, { keys: entries, valueBytes });
    await writer.stop();
    return filled;
  }

  /** A fourth node, until it has its share. */
  async join(): Promise<Moved> {
    const since = await this.#latest();
    this.#fourth = await this.cluster.addNode();
    return this.#moved(since);
  }

  /** It gives everything to the others. */
  async empty(): Promise<Moved> {
    const since = await this.#latest();
    await this.admin.drain(this.#fourth!.id, false);
    return this.#moved(since);
  }

  /** It gets its share again. `meanwhile`: called every so often with the partitions as they are. */
  async refill(meanwhile?: (partitions: readonly PartitionMigration[]) => Promise<void>): Promise<Moved> {
    const since = await this.#latest();
    await this.admin.drain(this.#fourth!.id, true);
    return this.#moved(since, meanwhile);
  }

  /** It gets what the first node has and it has not, offices included: what the coordinator's plans move is led elsewhere as a rule. */
  async takeOver(): Promise<Moved> {
    const since = await this.#latest();
    await this.admin.move(this.cluster.nodes[0]!.id, this.#fourth!.id);
    return this.#moved(since);
  }

  /** What full syncs brought to the fourth node since its start. */
  installedBytes(): Promise<number> {
    return readMetric(this.#fourth!.address, 'atoll_install_bytes_total', '');
  }

  async stop(): Promise<void> {
    this.admin.close();
    await this.cluster.stop();
  }

  /** Beginning of the latest migration there is. */
  async #latest(): Promise<number> {
    return Math.max(0, ...(await this.admin.migrations()).map(({ createdAtMs }) => createdAtMs));
  }

  async #moved(since: number, meanwhile?: (partitions: readonly PartitionMigration[]) => Promise<void>): Promise<Moved> {
    const deadlineMs = performance.now() + WATCH_MS;
    let quietMs = performance.now();
    let begun = 0;
    for (;;) {
      this.#signal.throwIfAborted();
      if (performance.now() > deadlineMs) throw new Error(`the migrations have not ended within ${WATCH_MS / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      const jobs = (await this.admin.migrations()).filter(({ createdAtMs }) => createdAtMs > since);
      const failed = jobs.find(({ state }) => state === MigrationState.MIGRATION_STATE_FAILED || state === MigrationState.MIGRATION_STATE_CANCELLED);
      if (failed !== undefined) throw new Error(`migration ${failed.id} went back: ${failed.problem}`);
      const isRunning = jobs.length === 0 || jobs.some(({ endedAtMs }) => endedAtMs === 0);
      if (isRunning && meanwhile !== undefined) for (const { id } of jobs) await meanwhile(await this.admin.partitionsOf(id));
      if (isRunning || jobs.length !== begun) quietMs = performance.now();
      begun = jobs.length;
      if (performance.now() - quietMs < QUIET_MS || !(await this.#isWhole())) continue;
      const beganMs = Math.min(...jobs.map(({ createdAtMs }) => createdAtMs));
      return {
        entries: jobs.reduce((sum, { entries }) => sum + entries, 0),
        bytes: jobs.reduce((sum, { bytes }) => sum + bytes, 0),
        elapsedMs: Math.max(...jobs.map(({ endedAtMs }) => endedAtMs)) - beganMs,
        beganMs: beganMs - performance.timeOrigin,
        partitions: (await Promise.all(jobs.map(({ id }) => this.admin.partitionsOf(id)))).flat(),
      };
    }
  }

  async #isWhole(): Promise<boolean> {
    const { partitions } = await readTopology({ router: this.cluster.router });
    return partitions.every(({ inSync, learners }) => inSync.length === 2 && learners.length === 0);
  }
}

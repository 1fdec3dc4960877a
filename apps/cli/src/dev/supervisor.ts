import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CliError, usageError } from '../cli-error.ts';
import type { ClusterHealth, ClusterStatus, ProcessStatus } from './cluster-status.ts';
import { MAIN_POOL, leastUsedZone, type ClusterLayout, type StorageNodeLayout } from './layout.ts';
import { ManagedProcess } from './managed-process.ts';
import { PROCESS_COUNT_MAX, assertPortsFree } from './ports.ts';
import { identityOf, residentBytes } from './process-identity.ts';
import { allSpecs, etcdUrl, storageNodeSpec, type ProcessSpec, type Role, type SpecContext } from './process-spec.ts';
import { restartDelayMs } from './restart-policy.ts';
import { STATE_FORMAT, socketPath, writeState } from './state-file.ts';

export interface SupervisorOptions extends SpecContext {
  /** One line about what happened, for people. */
  readonly report: (line: string) => void;
  /** Asks the elected coordinator; undefined when it does not answer. */
  readonly probe: (status: { coordinators: readonly string[] }) => Promise<ClusterHealth | undefined>;
  /** Time for everything to become ready. */
  readonly readyTimeoutMs: number;
  /** Time for a process to end by itself; STOP_TIMEOUT_MS unless told. */
  readonly stopTimeoutMs?: number;
}

/** Time for a service to end by itself: its own limit (ATOLL_SHUTDOWN_MS, 10 s) and a little. */
export const STOP_TIMEOUT_MS = 12_000;
const PROBE_POLL_MS = 100;
/** Full redundancy is waited for this long; after that the cluster is usable and goes on by itself. */
const REDUNDANCY_WAIT_MS = 15_000;

/**
 * Stopping order. Callers go before what they call; etcd is last, because every service deregisters there.
 * Coordinators go before storage nodes, so that no failover runs while the cluster is being taken down.
 */
const STOPPING_ORDER: readonly Role[] = ['router', 'backup', 'coordinator', 'storage-node', 'etcd'];

/** Runs the processes of one local cluster. Every method but `status` says in the state file what it did before it waits. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #processes = new Map<string, ManagedProcess>();
  readonly #ending = new AbortController();
  readonly #ended = Promise.withResolvers<void>();
  #layout: ClusterLayout;
  #down: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#layout = options.layout;
    for (const spec of allSpecs(options)) this.#add(spec);
  }

  get isEnding(): boolean {
    return this.#ending.signal.aborted;
  }

  /** Aborted when the cluster begins to be stopped. */
  get ending(): AbortSignal {
    return this.#ending.signal;
  }

  /** Resolves when the cluster has been stopped. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Starts everything and waits until the cluster serves. On failure everything is stopped again. */
  async up(): Promise<void> {
    const { report, readyTimeoutMs } = this.#options;
    const processes = [...this.#processes.values()];
    await assertPortsFree(processes.flatMap(({ spec }) => spec.ports));
    for (const dir of ['etcd', 'nodes', 'backup', 'logs']) mkdirSync(join(this.#options.dataDir, dir), { recursive: true, mode: 0o700 });
    this.#save();
    try {
      const deadline = Date.now() + readyTimeoutMs;
      const left = (): number => Math.max(deadline - Date.now(), 1);
      const [etcd, ...services] = processes;
      etcd?.start();
      await etcd?.waitUntilReady(left());
      report('etcd is ready');
      for (const service of services) {
        this.#assertNotEnding();
        service.start();
      }
      await Promise.all(
        services.map(async (service) => {
          await service.waitUntilReady(left());
          report(`${service.spec.id} is ready on ${service.spec.address}`);
        }),
      );
      await this.#waitUntilServing(left());
    } catch (error) {
      const stopped = this.isEnding;
      await this.down();
      throw stopped ? this.#stoppedMeanwhile() : error;
    }
  }

  /** How a process is started; undefined when there is none of that id. */
  specOf(id: string): ProcessSpec | undefined {
    return this.#processes.get(id)?.spec;
  }

  async status(): Promise<ClusterStatus> {
    const all = await Promise.all([...this.#processes.values()].map(statusOf));
    const of = (role: Role): ProcessStatus[] => all.filter((process) => process.role === role);
    const [etcdProcess] = of('etcd');
    if (etcdProcess === undefined) throw new Error('a cluster has an etcd');
    const coordinators = of('coordinator');
    return {
      etcd: etcdUrl(this.#layout),
      routers: of('router'),
      coordinators,
      storageNodes: of('storage-node'),
      backups: of('backup'),
      etcdProcess,
      dataDir: this.#options.dataDir,
      basePort: this.#layout.basePort,
      supervisorPid: process.pid,
      health: (await this.#options.probe({ coordinators: coordinators.filter(({ ready }) => ready).map(({ address }) => address) })) ?? null,
    };
  }

  /** Adds the next storage node and waits until it is ready. */
  async addNode(node: { zone?: string; weight?: number; pool?: string }): Promise<ProcessStatus> {
    this.#assertNotEnding();
    const nodes = this.#layout.storageNodes;
    const number = Math.max(0, ...nodes.map((known) => known.number)) + 1;
    if (number > PROCESS_COUNT_MAX['storage-node']) throw usageError(`a local cluster has at most ${PROCESS_COUNT_MAX['storage-node']} storage nodes`);
    const added: StorageNodeLayout = { number, zone: node.zone ?? leastUsedZone(nodes), weight: node.weight ?? 1, ...(node.pool !== undefined && node.pool !== MAIN_POOL && { pool: node.pool }) };
    const process = this.#add(storageNodeSpec({ ...this.#options, layout: this.#layout }, added));
    this.#layout = { ...this.#layout, storageNodes: [...nodes, added] };
    try {
      await assertPortsFree(process.spec.ports);
    } catch (error) {
      this.#processes.delete(process.spec.id);
      this.#layout = { ...this.#layout, storageNodes: this.#layout.storageNodes.filter((known) => known !== added) };
      throw error;
    }
    return this.#startAndWait(process);
  }

  /** Any signal; the two that pause and resume change the state as `pause` and `resume` do. */
  kill(id: string, signal: NodeJS.Signals): Promise<ProcessStatus> {
    if (signal === 'SIGSTOP') return this.pause(id);
    if (signal === 'SIGCONT') return this.resume(id);
    return this.#on(id, async (process) => {
      process.kill(signal);
      // SIGKILL always ends it; of others the process decides.
      if (signal === 'SIGKILL') await process.waitForExit(STOP_TIMEOUT_MS);
    });
  }

  pause(id: string): Promise<ProcessStatus> {
    return this.#on(id, (process) => process.pause());
  }

  resume(id: string): Promise<ProcessStatus> {
    return this.#on(id, (process) => process.resume());
  }

  stop(id: string): Promise<ProcessStatus> {
    return this.#on(id, (process) => this.#stopOne(process));
  }

  /** Starts a process that is not running, with the same id, ports and data, and waits until it is ready. */
  async start(id: string): Promise<ProcessStatus> {
    const process = this.#find(id);
    if (process.state === 'stopping') await process.waitForExit(STOP_TIMEOUT_MS);
    if (process.isAlive) throw new CliError(`${id} is running already`);
    await assertPortsFree(process.spec.ports);
    return this.#startAndWait(process);
  }

  /** Stops everything, in order; what does not go in time is killed. Further calls wait for the same end. */
  down(): Promise<void> {
    this.#ending.abort();
    this.#down ??= this.#stopAll();
    return this.#down;
  }

  /** No child outlives a supervisor that is about to die of a bug, or whose user is in a hurry. */
  killAllNow(): void {
    for (const process of this.#processes.values()) process.killNow();
  }

  async #stopAll(): Promise<void> {
    for (const role of STOPPING_ORDER) {
      const group = [...this.#processes.values()].filter(({ spec, isAlive }) => spec.role === role && isAlive);
      await Promise.all(group.map((process) => this.#stopOne(process)));
    }
    this.#save();
    this.#ended.resolve();
  }

  async #stopOne(process: ManagedProcess): Promise<void> {
    const timeoutMs = this.#options.stopTimeoutMs ?? STOP_TIMEOUT_MS;
    if (!(await process.stop(timeoutMs))) this.#options.report(`${process.spec.id} did not stop within ${timeoutMs / 1000} s and was killed`);
  }

  async #waitUntilServing(timeoutMs: number): Promise<void> {
    const { probe, report } = this.#options;
    const addresses = [...this.#processes.values()].filter(({ spec }) => spec.role === 'coordinator').map(({ spec }) => spec.address);
    const wanted = this.#layout.storageNodes.length;
    const deadline = Date.now() + timeoutMs;
    const redundantBy = Date.now() + Math.min(REDUNDANCY_WAIT_MS, timeoutMs);
    for (;;) {
      this.#assertNotEnding();
      const dead = [...this.#processes.values()].find(({ isAlive }) => !isAlive);
      if (dead !== undefined) throw new CliError(`${dead.spec.id} ended (${dead.exit})${dead.logTail()}`);
      const health = await probe({ coordinators: addresses });
      const serving = health !== undefined && health.nodesUp >= wanted && health.partitions > 0 && health.partitionsWithoutLeader === 0;
      if (serving) {
        if (health.partitionsUnderReplicated === 0) return;
        if (this.#layout.storageNodes.filter(({ pool }) => pool === undefined).length < (this.#layout.replicationFactor ?? 2)) return;
        if (Date.now() > redundantBy) {
          report(`${health.partitionsUnderReplicated} of ${health.partitions} partitions are still catching up`);
          return;
        }
      }
      if (Date.now() > deadline) throw new CliError(`the cluster did not serve in time: ${healthText(health)}`);
      await delay(PROBE_POLL_MS);
    }
  }

  #add(spec: ProcessSpec): ManagedProcess {
    const process = new ManagedProcess({
      spec,
      logFile: join(this.#options.dataDir, 'logs', `${spec.id}.log`),
      onChange: () => this.#save(),
      onUnexpectedExit: (ended) => this.#onUnexpectedExit(ended),
    });
    this.#processes.set(spec.id, process);
    return process;
  }

  #onUnexpectedExit(process: ManagedProcess): void {
    if (this.isEnding) return;
    const { id } = process.spec;
    const restart = this.#layout.restart === 'on-failure';
    const waitMs = restartDelayMs(process.restarts + 1);
    this.#options.report(
      `${id} ended unexpectedly (${process.exit}); log: ${process.logFile}; ` +
        (restart ? `it is started again in ${waitMs / 1000} s` : `start it again with: atoll dev start ${id}`),
    );
    if (!restart) return;
    void this.#restartAfter(process, waitMs);
  }

  async #restartAfter(process: ManagedProcess, waitMs: number): Promise<void> {
    try {
      await delay(waitMs, undefined, { signal: this.#ending.signal });
      // Meanwhile the user may have started or stopped it.
      if (process.state === 'exited') process.start();
    } catch (error) {
      if (!this.isEnding) this.#options.report(`${process.spec.id} could not be started again: ${String(error)}`);
    }
  }

  async #on(id: string, action: (process: ManagedProcess) => void | Promise<unknown>): Promise<ProcessStatus> {
    const process = this.#find(id);
    await action(process);
    return statusOf(process);
  }

  #find(id: string): ManagedProcess {
    this.#assertNotEnding();
    const process = this.#processes.get(id);
    if (process === undefined) throw new CliError(`there is no ${id}; there are ${[...this.#processes.keys()].join(', ')}`);
    return process;
  }

  async #startAndWait(process: ManagedProcess): Promise<ProcessStatus> {
    this.#assertNotEnding();
    process.start();
    await process.waitUntilReady(this.#options.readyTimeoutMs);
    // It was ready a moment ago; as soon as it gets partitions to fill it may not be for a while.
    return { ...(await statusOf(process)), ready: true };
  }

  #assertNotEnding(): void {
    if (this.isEnding) throw this.#stoppedMeanwhile();
  }

  #stoppedMeanwhile(): CliError {
    return new CliError('the cluster is being stopped');
  }

  #save(): void {
    writeState(this.#options.dataDir, {
      format: STATE_FORMAT,
      supervisor: identityOf(process.pid),
      socket: socketPath(this.#options.dataDir),
      layout: this.#layout,
      processes: [...this.#processes.values()].flatMap(({ spec, identity }) => (identity === undefined ? [] : [{ id: spec.id, ...identity }])),
    });
  }
}

async function statusOf(process: ManagedProcess): Promise<ProcessStatus> {
  const { spec, identity } = process;
  const ready = await process.isReady();
  return {
    id: spec.id,
    address: spec.address,
    pid: identity?.pid ?? null,
    ...(spec.zone === undefined ? {} : { zone: spec.zone }),
    ...(spec.pool === undefined ? {} : { pool: spec.pool }),
    role: spec.role,
    state: process.state,
    ready,
    ...(spec.httpAddress === undefined ? {} : { httpAddress: spec.httpAddress }),
    log: process.logFile,
    restarts: Math.max(process.restarts, 0),
    startedAtMs: process.startedAtMs ?? null,
    residentBytes: identity === undefined ? null : (residentBytes(identity.pid) ?? null),
    exit: process.exit ?? null,
  };
}

function healthText(health: ClusterHealth | undefined): string {
  if (health === undefined) return 'no coordinator answers';
  return `${health.nodesUp} of ${health.nodesTotal} storage nodes are up, ${health.partitionsWithoutLeader} of ${health.partitions} partitions have no leader`;
}

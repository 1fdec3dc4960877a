import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { createClient, type AtollClient, type ClientOptions } from '@atoll/client';
import { AdminClient, type Event, type Keyspace, type Node, type Partition } from '@atoll/contracts/atoll/v1/admin';
import { StartMigrationRequest, type Migration, type PartitionMigration, type StartMigrationResponse } from '@atoll/contracts/atoll/v1/migration';
import { CacheClient } from '@atoll/contracts/atoll/v1/cache';
import { ReplicationClient, type HeldReplica } from '@atoll/contracts/atoll/v1/replication';
import { callUnary, createChannelOptions } from '@atoll/platform-grpc';
import { eventually } from '@atoll/platform-etcd/testing';
import { compareReplicas, type ReplicaComparison } from '@atoll/tests-bench';
import { readMetrics, readReadiness, type MetricsPage, type ReadinessAnswer } from './metrics.ts';
import { ROOT, runCommand } from './run-command.ts';

/** A process as `atoll dev status --json` prints it. */
export interface DevProcess {
  readonly id: string;
  /** host:port of its gRPC server; of etcd: its client URL. */
  readonly address: string;
  readonly httpAddress: string;
  /** null while it does not run. */
  readonly pid: number | null;
  readonly state: string;
  readonly ready: boolean;
  readonly log: string;
  /** How it ended last: `exit code 0`, `SIGKILL`; null while it runs. */
  readonly exit: string | null;
}

export interface DevStatus {
  /** URL of etcd. */
  readonly etcd: string;
  readonly routers: readonly DevProcess[];
  readonly coordinators: readonly DevProcess[];
  readonly storageNodes: readonly DevProcess[];
  readonly backups: readonly DevProcess[];
  readonly etcdProcess: DevProcess;
}

export interface DevClusterOptions {
  readonly nodes: number;
  readonly routers?: number;
  /** Default 1. */
  readonly coordinators?: number;
  /** Settings of every service, say ATOLL_LOG_LEVEL. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Time limits of jest's hooks that start and stop a cluster. */
export const START_MS = 120_000;
export const STOP_MS = 60_000;

const CALL_MS = 15_000;
/** A coordinator that is paused keeps nobody waiting for long. */
const ASK_MS = 5000;
/** Time for a cluster to come to rest after a fault, on a busy machine. */
const SETTLE_MS = 60_000;
const CLI = join(ROOT, 'apps/cli/src/main.ts');

/**
 * A cluster of its own: `atoll dev up` in a temporary directory, on free ports. What went wrong in it can be read
 * in its logs when KEEP_CLUSTER_DATA is set; else the directory goes with the cluster.
 */
export class DevCluster {
  readonly dataDir: string;
  readonly up: DevStatus;
  readonly #clients: { close(): void }[] = [];

  private constructor(dataDir: string, up: DevStatus) {
    this.dataDir = dataDir;
    this.up = up;
  }

  /** Resolves when it serves. What was started is taken down again when this fails. */
  static async start({ nodes, routers = 1, coordinators = 1, env = {} }: DevClusterOptions): Promise<DevCluster> {
    const dataDir = await mkdtemp(join(tmpdir(), 'atoll-cluster-'));
    try {
      const args = ['up', '--detach', '--json', '--base-port', '0', '--nodes', String(nodes), '--routers', String(routers), '--coordinators', String(coordinators), '--ready-timeout', '90'];
      return new DevCluster(dataDir, (await dev(dataDir, args, env)) as DevStatus);
    } catch (error) {
      await takeDown(dataDir);
      throw error;
    }
  }

  /** Ends every process and client. */
  async stop(): Promise<void> {
    for (const client of this.#clients) client.close();
    await takeDown(this.dataDir);
  }

  // --- processes --------------------------------------------------------------------------------------------------

  /** Everything but etcd. */
  get services(): DevProcess[] {
    const { coordinators, storageNodes, routers, backups } = this.up;
    return [...coordinators, ...storageNodes, ...routers, ...backups];
  }

  /** As it was when the cluster came up: addresses stay, pids do not. */
  process(id: string): DevProcess {
    const found = this.services.find((process) => process.id === id);
    if (found === undefined) throw new Error(`there is no ${id}`);
    return found;
  }

  status(): Promise<DevStatus> {
    return dev(this.dataDir, ['status', '--json']) as Promise<DevStatus>;
  }

  kill = (id: string): Promise<DevProcess> => this.#control('kill', id);
  pause = (id: string): Promise<DevProcess> => this.#control('pause', id);
  resume = (id: string): Promise<DevProcess> => this.#control('resume', id);
  /** SIGTERM; resolves when it has ended. */
  terminate = (id: string): Promise<DevProcess> => this.#control('stop', id);
  /** Resolves when it is ready. */
  startProcess = (id: string): Promise<DevProcess> => this.#control('start', id);

  /** Resolves when it is ready. */
  addNode(pool?: string): Promise<DevProcess> {
    return dev(this.dataDir, ['add-node', ...(pool === undefined ? [] : ['--pool', pool]), '--json']) as Promise<DevProcess>;
  }

  #control(command: string, id: string): Promise<DevProcess> {
    return dev(this.dataDir, [command, id, '--json']) as Promise<DevProcess>;
  }

  metrics(id: string): Promise<MetricsPage> {
    return readMetrics(this.process(id).httpAddress);
  }

  readiness(id: string): Promise<ReadinessAnswer | undefined> {
    return readReadiness(this.process(id).httpAddress);
  }

  /** Lines of a process's log that contain every text given. */
  async logLines(id: string, ...texts: readonly string[]): Promise<string[]> {
    const log = await readFile(join(this.dataDir, 'logs', `${id}.log`), 'utf8');
    return log.split('\n').filter((line) => texts.every((text) => line.includes(text)));
  }

  // --- clients ----------------------------------------------------------------------------------------------------

  get routerAddress(): string {
    return this.up.routers[0]!.address;
  }

  /** An SDK client of all routers, closed with the cluster. */
  client(options: Omit<ClientOptions, 'routers'> = {}): AtollClient {
    return this.#kept(createClient({ routers: this.up.routers.map(({ address }) => address), ...options }));
  }

  /** A client of the first router that has nothing but the proto. */
  rawClient(): CacheClient {
    return this.#kept(new CacheClient(this.routerAddress, credentials.createInsecure(), createChannelOptions()));
  }

  #kept<Client extends { close(): void }>(client: Client): Client {
    this.#clients.push(client);
    return client;
  }

  readonly #admins = new Map<string, AdminClient>();

  /** Asks the elected coordinator; with several of them, whichever answers. */
  async #ask<T>(call: (admin: AdminClient) => Promise<T>): Promise<T> {
    const failures: unknown[] = [];
    for (const { address } of this.up.coordinators) {
      let admin = this.#admins.get(address);
      if (admin === undefined) this.#admins.set(address, (admin = this.#kept(new AdminClient(address, credentials.createInsecure(), createChannelOptions()))));
      try {
        return await call(admin);
      } catch (error) {
        failures.push(error);
      }
    }
    throw failures.length === 1 ? failures[0] : new AggregateError(failures, failures.map(String).join('; '));
  }

  /** Id of the elected coordinator; empty while there is none. */
  async electedCoordinator(): Promise<string> {
    return this.#ask((admin) => callUnary(admin, 'getCluster', {}, { deadlineMs: ASK_MS })).then(
      ({ coordinator }) => coordinator,
      () => '',
    );
  }

  async createKeyspace(keyspace: Partial<Keyspace> & { name: string }): Promise<void> {
    await this.#ask((admin) => callUnary(admin, 'createKeyspace', { keyspace: { ...UNSPECIFIED, ...keyspace } }, { deadlineMs: SETTLE_MS }));
  }

  async deleteKeyspace(name: string): Promise<void> {
    await this.#ask((admin) => callUnary(admin, 'deleteKeyspace', { name }, { deadlineMs: SETTLE_MS }));
  }

  /** Resolves when it takes no writes any more. */
  async freezeKeyspace(name: string, note = ''): Promise<Keyspace> {
    return (await this.#ask((admin) => callUnary(admin, 'freezeKeyspace', { name, note }, { deadlineMs: CALL_MS }))).keyspace!;
  }

  async unfreezeKeyspace(name: string, reopenMoved = false): Promise<Keyspace> {
    return (await this.#ask((admin) => callUnary(admin, 'unfreezeKeyspace', { name, reopenMoved }, { deadlineMs: CALL_MS }))).keyspace!;
  }

  async keyspaces(): Promise<Keyspace[]> {
    return (await this.#ask((admin) => callUnary(admin, 'listKeyspaces', {}, { deadlineMs: ASK_MS }))).keyspaces;
  }

  async keyspace(name: string): Promise<Keyspace> {
    return (await this.#ask((admin) => callUnary(admin, 'getKeyspace', { name }, { deadlineMs: ASK_MS }))).keyspace!;
  }

  async partitions(keyspace = 'default'): Promise<Partition[]> {
    return (await this.#ask((admin) => callUnary(admin, 'listPartitions', { keyspace }, { deadlineMs: ASK_MS }))).partitions;
  }

  /** How many partitions of the keyspace `default` the node leads. */
  async leaderships(node: string): Promise<number> {
    return (await this.partitions()).filter(({ leader }) => leader === node).length;
  }

  async nodes(): Promise<Node[]> {
    return (await this.#ask((admin) => callUnary(admin, 'listNodes', {}, { deadlineMs: ASK_MS }))).nodes;
  }

  async events(kind: string): Promise<Event[]> {
    return (await this.#ask((admin) => callUnary(admin, 'listEvents', { kind, limit: 1000 }, { deadlineMs: ASK_MS }))).events;
  }

  async startMigration(request: Partial<StartMigrationRequest>): Promise<StartMigrationResponse> {
    return this.#ask((admin) => callUnary(admin, 'startMigration', StartMigrationRequest.fromPartial(request), { deadlineMs: CALL_MS }));
  }

  async migration(id: string): Promise<{ readonly migration: Migration; readonly partitions: readonly PartitionMigration[] }> {
    const { migration, partitions } = await this.#ask((admin) => callUnary(admin, 'getMigration', { id }, { deadlineMs: ASK_MS }));
    return { migration: migration!, partitions };
  }

  async migrations(): Promise<Migration[]> {
    return (await this.#ask((admin) => callUnary(admin, 'listMigrations', { limit: 200, active: false }, { deadlineMs: ASK_MS }))).migrations;
  }

  async cancelMigration(id: string): Promise<void> {
    await this.#ask((admin) => callUnary(admin, 'cancelMigration', { id }, { deadlineMs: CALL_MS }));
  }

  /** Resolves when it is over, one way or the other, or when it is not known how it is. */
  async cutOverMigration(id: string, maxPauseMs = 0): Promise<Migration> {
    return (await this.#ask((admin) => callUnary(admin, 'cutOverMigration', { id, maxPauseMs }, { deadlineMs: SETTLE_MS }))).migration!;
  }

  async pauseMigration(id: string): Promise<void> {
    await this.#ask((admin) => callUnary(admin, 'pauseMigration', { id }, { deadlineMs: CALL_MS }));
  }

  async resumeMigration(id: string, bytesPerSecond?: number): Promise<void> {
    await this.#ask((admin) => callUnary(admin, 'resumeMigration', { id, bytesPerSecond }, { deadlineMs: CALL_MS }));
  }

  /** `undo`: it is wanted back. */
  async drainNode(node: string, undo = false): Promise<void> {
    await this.#ask((admin) => callUnary(admin, 'drainNode', { node, undo }, { deadlineMs: CALL_MS }));
  }

  async removeNode(node: string): Promise<void> {
    await this.#ask((admin) => callUnary(admin, 'removeNode', { node, dataIsLost: false }, { deadlineMs: CALL_MS }));
  }

  async replicas(node: string): Promise<HeldReplica[]> {
    const client = new ReplicationClient(this.process(node).address, credentials.createInsecure(), createChannelOptions());
    try {
      return (await callUnary(client, 'listReplicas', {}, { deadlineMs: CALL_MS })).replicas;
    } finally {
      client.close();
    }
  }

  // --- conditions -------------------------------------------------------------------------------------------------

  /** Every partition of the keyspace is led, has `count` replicas in sync and nobody learns. */
  async untilRedundant(keyspace = 'default', count = 2): Promise<void> {
    await eventually(
      `${keyspace} has ${count} in-sync replicas of each partition`,
      async () => (await this.partitions(keyspace)).every(({ leader, inSync, learners }) => leader !== '' && inSync.length === count && learners.length === 0),
      SETTLE_MS,
    );
  }

  /** Digests of all in-sync replicas, `count` at least, of each partition. */
  compareReplicas(keyspace = 'default', count = 2): Promise<ReplicaComparison> {
    return compareReplicas({ router: this.routerAddress, keyspace, replicasMin: count });
  }
}

const UNSPECIFIED: Keyspace = {
  name: '',
  partitionCount: 0,
  replicationFactor: 0,
  minInSync: 0,
  ack: 0,
  durability: 0,
  defaultTtlMs: 0,
  memoryShare: 0,
  eviction: 0,
  onDataLoss: 0,
  valueBytesMax: 0,
  aliases: [],
  pool: '',
};

/** Runs `atoll dev ...`; throws with what it complained about. */
async function dev(dataDir: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<unknown> {
  // Of the specs: services refuse what is no setting of theirs.
  const { ATOLL_TEST_S3_BIN: _, ...own } = process.env;
  const { code, stdout, stderr } = await runCommand(process.execPath, [CLI, 'dev', ...args, '--data-dir', dataDir], { env: { ...own, ...env } });
  if (code !== 0) throw new Error(`atoll dev ${args.join(' ')} ended with code ${code}: ${stderr.trim()}`);
  return args.includes('--json') ? JSON.parse(stdout) : undefined;
}

/** Also where `up` was broken off before it had written anything down. */
async function takeDown(dataDir: string): Promise<void> {
  await dev(dataDir, ['down']);
  if (process.env['KEEP_CLUSTER_DATA'] === undefined) await rm(dataDir, { recursive: true, force: true });
}

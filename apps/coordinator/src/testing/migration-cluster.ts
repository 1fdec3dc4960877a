// A cluster of nodes that hold no data and coordinators over one etcd in memory, for specs of migrations.
import type { AdminClient, Partition } from '@atoll/contracts/atoll/v1/admin';
import { MigrationMethod, MigrationState, MigrationStep, type Migration, type PartitionMigration, type StartMigrationRequest } from '@atoll/contracts/atoll/v1/migration';
import { isAtollError, type AtollError } from '@atoll/core-errors';
import { SeededRandom } from '@atoll/core-runtime';
import { OPERATORS_PREFIX, parseMigrationOperator } from '@atoll/platform-etcd';
import { InMemoryEtcd, InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import type { TelemetryOptions } from '@atoll/platform-telemetry';
import { ReplicationNode } from './replication-node.ts';
import { runCoordinator, type RunningCoordinator } from './run-coordinator.ts';

export const DEADLINE = { deadlineMs: 10_000 };

export const HELD_STEPS = ['WAITING', 'ADD', 'CATCH_UP', 'VERIFY', 'TRANSFER', 'REMOVE'] as const;
export type HeldStep = (typeof HELD_STEPS)[number];

export class MigrationCluster {
  readonly etcd = new InMemoryEtcd();
  readonly nodes = new Map<string, ReplicationNode>();
  readonly #random: SeededRandom;
  readonly #stops: (() => Promise<void>)[] = [];

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }

  async coordinator(id: string, env: Record<string, string> = {}, telemetryOptions: Partial<TelemetryOptions> = {}): Promise<RunningCoordinator> {
    const settings = {
      COORDINATOR_ELECTION_TTL_MS: '10000',
      COORDINATOR_SUSPECT_AFTER_MS: '2000',
      COORDINATOR_DOWN_AFTER_MS: '5000',
      COORDINATOR_NODE_CALL_MS: '1000',
      COORDINATOR_FAILOVER_ACTIVE: 'drain-only',
      COORDINATOR_VERIFY_EVERY_MS: '0',
      ...env,
    };
    const store = new InMemoryMetadataStore({ etcd: this.etcd });
    const running = await runCoordinator({ id, env: settings, store, seed: this.#random.nextUint32(), telemetry: telemetryOptions });
    this.#stops.push(() => running.stop());
    return running;
  }

  async node(id: string, settings: Parameters<ReplicationNode['start']>[0] = {}): Promise<ReplicationNode> {
    const store = new InMemoryMetadataStore({ etcd: this.etcd });
    const node = new ReplicationNode(id, { store, seed: this.#random.nextUint32() });
    await eventually('the cluster has an id', () => this.etcd.get('cluster'));
    await node.start(settings);
    this.nodes.set(id, node);
    this.#stops.push(async () => {
      await node.kill();
      await store.close();
    });
    return node;
  }

  /** A coordinator and three nodes that hold `default`, placed. */
  async start(env: Record<string, string> = {}, telemetryOptions: Partial<TelemetryOptions> = {}): Promise<RunningCoordinator> {
    const running = await this.coordinator('c1', env, telemetryOptions);
    await Promise.all(['a', 'b', 'c'].map((id) => this.node(id)));
    await eventually('default is placed', async () => (await tableOf(running.admin).catch(() => [])).filter((partition) => partition.leader !== '' && partition.inSync.length === 2).length === 64, 20_000);
    return running;
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.reverse()) await stop();
  }

  /** Operators as they stand in etcd: by keyspace and partition, job and step. */
  operators(): { readonly name: string; readonly job: string; readonly step: string }[] {
    return this.etcd.list(OPERATORS_PREFIX).flatMap(({ value }) => {
      const parsed = parseMigrationOperator(value);
      return parsed.kind === 'parsed' ? [{ name: `${parsed.value.keyspace}/${parsed.value.partition}`, job: parsed.value.job, step: parsed.value.step }] : [];
    });
  }

  /** Begins the move `m` of one partition from a to b and has it stop at a step. Returns the partition. */
  async hold(admin: AdminClient, step: HeldStep): Promise<number> {
    const partition = await this.movable(admin, 'a', 'b');
    const nodes = [...this.nodes.values()];
    if (step === 'WAITING') {
      // Another one fills the only place that the target has.
      for (const node of nodes) node.isLeaderAtWork = false;
      const other = (await tableOf(admin)).find(({ id, inSync }) => id !== partition && inSync.includes('a') && !inSync.includes('b'))!.id;
      await callUnary(admin, 'startMigration', ask({ id: 'other', from: 'a', to: 'b', partitions: [other] }), DEADLINE);
      await eventuallyShown(admin, 'other', 'the other one fills', ({ partitions }) => stepOf(partitions[0]!) === 'CATCH_UP');
    }
    for (const node of nodes) {
      if (step === 'ADD') node.makesReplicas = false;
      if (step === 'CATCH_UP') node.isLeaderAtWork = false;
      if (step === 'VERIFY') node.verifyProblem = 'not now';
      if (step === 'TRANSFER' || step === 'REMOVE') node.handOverProblem = 'not now';
    }
    await callUnary(admin, 'startMigration', ask({ id: 'm', from: 'a', to: 'b', partitions: [partition] }), DEADLINE);
    await this.#arrived(admin, step === 'REMOVE' ? 'TRANSFER' : step);
    if (step === 'REMOVE') {
      for (const node of nodes) Object.assign(node, { isLeaderAtWork: false, handOverProblem: '' });
      await this.#arrived(admin, 'REMOVE');
    }
    return partition;
  }

  /** Everybody does what is asked again. */
  release(): void {
    for (const node of this.nodes.values()) Object.assign(node, { makesReplicas: true, verifyProblem: '', handOverProblem: '', isLeaderAtWork: true });
  }

  async #arrived(admin: AdminClient, step: HeldStep): Promise<void> {
    await eventuallyShown(admin, 'm', `it is at ${step}`, ({ partitions }) => stepOf(partitions[0]!) === step);
  }

  /** Calls back with every change below a prefix. */
  async observe(prefix: string, onChange: () => void): Promise<{ close(): Promise<void> }> {
    const store = new InMemoryMetadataStore({ etcd: this.etcd });
    const watch = await store.watch(prefix, { onSnapshot: onChange, onChanges: onChange });
    return {
      close: async () => {
        await watch.close();
        await store.close();
      },
    };
  }

  /** A partition that `from` holds and `to` does not. */
  async movable(admin: AdminClient, from: string, to: string, isLed = true): Promise<number> {
    const found = (await tableOf(admin)).find(({ inSync, leader }) => inSync.includes(from) && !inSync.includes(to) && (leader === from) === isLed);
    if (found === undefined) throw new Error(`nothing goes from ${from} to ${to}`);
    return found.id;
  }
}

export const tableOf = async (admin: AdminClient, keyspace = 'default'): Promise<Partition[]> => (await callUnary(admin, 'listPartitions', { keyspace }, DEADLINE)).partitions;

export const ask = (fields: Partial<StartMigrationRequest>): StartMigrationRequest => ({
  id: '',
  method: MigrationMethod.MIGRATION_METHOD_UNSPECIFIED,
  keyspace: '',
  partitions: [],
  allKeyspaces: false,
  from: '',
  to: '',
  bytesPerSecond: 0,
  fullVerify: false,
  shards: 0,
  dryRun: false,
  target: undefined,
  sourceRouters: [],
  tokenFrom: 0n,
  tokenTo: 0n,
  ...fields,
});

export const failureOf = (call: Promise<unknown>): Promise<AtollError | undefined> =>
  call.then(
    () => undefined,
    (error: unknown) => (isAtollError(error) ? error : undefined),
  );

export interface Shown {
  readonly migration: Migration;
  readonly partitions: readonly PartitionMigration[];
}

export async function shown(admin: AdminClient, id: string): Promise<Shown> {
  const { migration, partitions } = await callUnary(admin, 'getMigration', { id }, DEADLINE);
  return { migration: migration!, partitions };
}

const nameIn = (names: Readonly<Record<string, number>>, value: number): string => Object.entries(names).find(([, number]) => number === value)![0].replace(/^MIGRATION_(STEP|STATE)_/, '');
export const stepOf = ({ step }: PartitionMigration): string => nameIn(MigrationStep, step);
export const stateOf = ({ state }: Migration): string => nameIn(MigrationState, state);

/** Polls until the job stands as wanted; while nobody is elected, too. */
export const eventuallyShown = (admin: AdminClient, id: string, what: string, isWanted: (job: Shown) => boolean, timeoutMs = 20_000): Promise<Shown> =>
  eventually(
    what,
    async () => {
      const job = await shown(admin, id).catch(() => undefined);
      return job !== undefined && isWanted(job) ? job : undefined;
    },
    timeoutMs,
  );

export const hasEnded = ({ migration: { endedAtMs } }: Shown): boolean => endedAtMs > 0;

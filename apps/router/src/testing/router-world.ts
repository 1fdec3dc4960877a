import { credentials } from '@grpc/grpc-js';
import { CacheClient } from '@atoll/contracts/atoll/v1/cache';
import { createKeyspaceSpec, type KeyspaceRequest, type KeyspaceSpec, type Member, type PartitionRecord } from '@atoll/core-membership';
import { isAtollError, type AtollError } from '@atoll/core-errors';
import { partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import { SeededRandom, toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { formatAddress, type Env } from '@atoll/platform-config';
import { encodeKeyspaceSpec, encodeNodeRecord, encodePartitionRecord, ensureClusterId, keyspaceKey, nodeKey, partitionKey } from '@atoll/platform-etcd';
import { InMemoryEtcd, InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import { createChannelOptions, fromServiceError } from '@atoll/platform-grpc';
import { createLogger, startTelemetry, type Telemetry, type TelemetryOptions } from '@atoll/platform-telemetry';
import { parseConfig } from '../config.ts';
import { startRouter, type Router } from '../router.ts';
import { ScriptedNode, type Script } from './scripted-node.ts';

export interface WorldOptions {
  /** Nodes are called a, b, c ... Default 2. */
  readonly nodes?: number;
  readonly script?: Script;
  /** Nodes keep entries of their own; default: one map for all, as if replication were instant. */
  readonly separateEntries?: boolean;
  readonly keyspace?: Partial<KeyspaceRequest>;
  readonly env?: Env;
  readonly telemetry?: Partial<TelemetryOptions>;
}

/**
 * A router between scripted storage nodes and an in-memory etcd. Node a leads every partition at first, all nodes
 * are in sync.
 */
export class RouterWorld {
  readonly store: InMemoryMetadataStore;
  readonly nodes: readonly ScriptedNode[];
  readonly router: Router;
  readonly telemetry: Telemetry;
  readonly client: CacheClient;
  readonly keyspace: KeyspaceSpec;
  readonly #epochs = new Map<number, number>();

  constructor(parts: Pick<RouterWorld, 'store' | 'nodes' | 'router' | 'telemetry' | 'client' | 'keyspace'>) {
    this.store = parts.store;
    this.nodes = parts.nodes;
    this.router = parts.router;
    this.telemetry = parts.telemetry;
    this.client = parts.client;
    this.keyspace = parts.keyspace;
  }

  static async start(options: WorldOptions = {}): Promise<RouterWorld> {
    const etcd = new InMemoryEtcd();
    const admin = new InMemoryMetadataStore({ etcd });
    await ensureClusterId(admin, () => 'test-cluster');
    const entries = new Map<string, Buffer>();
    const nodes = await Promise.all(
      Array.from({ length: options.nodes ?? 2 }, () => ScriptedNode.start({ ...(options.script && { script: options.script }), ...(options.separateEntries !== true && { entries }) })),
    );
    const keyspace = createKeyspaceSpec({ name: 'default', id: 'ks1', partitionCount: 4, ...options.keyspace });
    const seed = 20_261_120;
    const random = new SeededRandom(seed);
    const logger = createLogger({ service: 'router', instanceId: 'test', level: 'silent', format: 'json' });
    const telemetry = await startTelemetry({ service: 'router', instanceId: 'test', version: '0', traceRatio: 0, ...options.telemetry });
    const config = parseConfig({ ATOLL_LISTEN: '127.0.0.1:0', ATOLL_HTTP_LISTEN: 'off', ...options.env });
    const router = await startRouter({ config, logger, telemetry, store: new InMemoryMetadataStore({ etcd }), random: () => random.nextUint32() / 2 ** 32 });
    const client = new CacheClient(formatAddress(router.address), credentials.createInsecure(), createChannelOptions());
    const world = new RouterWorld({ store: admin, nodes, router, telemetry, client, keyspace });
    await world.putKeyspace(keyspace);
    await Promise.all(nodes.map((node, index) => world.registerNode(index, node.address)));
    for (let partition = 0; partition < keyspace.partitionCount; partition += 1) await world.lead(partition, 0);
    await eventually('the router has read the table', () => router.readiness().ready);
    return world;
  }


  node(index: number): ScriptedNode {
    return this.nodes[index]!;
  }

  /** Partition of a key of the default keyspace. */
  partitionOf(key: string): number {
    return partitionOfToken(tokenOfKey(Buffer.from(key)), this.keyspace.partitionCount);
  }

  /** A key of a partition. */
  keyIn(partition: number, prefix = 'key'): string {
    for (let index = 0; ; index += 1) if (this.partitionOf(`${prefix}-${index}`) === partition) return `${prefix}-${index}`;
  }

  async putKeyspace(spec: KeyspaceSpec): Promise<void> {
    await this.store.transact([], [{ kind: 'put', key: keyspaceKey(spec.name), value: encodeKeyspaceSpec(spec) }]);
  }

  async registerNode(index: number, address: string): Promise<void> {
    const record = { id: nodeId(index), address, httpAddress: '', zone: `z${nodeId(index)}`, weight: 1, incarnation: 'i1', phase: 'SERVING' as const };
    await this.store.transact([], [{ kind: 'put', key: nodeKey(record.id), value: encodeNodeRecord(record) }]);
  }

  /** Writes a partition's record: a new epoch, led by node `index`, or by nobody. */
  async lead(partition: number, index: number | undefined, changes: Partial<PartitionRecord> = {}): Promise<void> {
    const epoch = (this.#epochs.get(partition) ?? 0) + 1;
    this.#epochs.set(partition, epoch);
    const inSync = this.nodes.map((_, node): Member => ({ node: nodeId(node), replica: toReplicaId(String(node + 1).padStart(16, '0')) }));
    const leader = index === undefined ? undefined : inSync[index];
    const record = {
      keyspace: this.keyspace.name,
      keyspaceId: this.keyspace.id,
      partition: toPartitionId(partition),
      state: leader === undefined ? ('WAITING' as const) : ('ACTIVE' as const),
      generation: { counter: 1, id: 'g1' },
      epoch: toEpoch(epoch),
      leader,
      leaderIncarnation: leader === undefined ? '' : 'i1',
      relinquished: false,
      inSync,
      eligible: [],
      learners: [],
      leaving: [],
      changeId: `c${epoch}`,
      ...changes,
    };
    await this.store.transact([], [{ kind: 'put', key: partitionKey(this.keyspace.name, partition), value: encodePartitionRecord(record) }]);
  }

  /** The epoch last written for a partition. */
  epochOf(partition: number): number {
    return this.#epochs.get(partition) ?? 0;
  }

  async stop(): Promise<void> {
    this.client.close();
    await this.router.stop(AbortSignal.timeout(2000));
    for (const node of this.nodes) node.stop();
    await this.telemetry.shutdown();
    await this.store.close();
  }
}

export const nodeId = (index: number) => toNodeId(String.fromCodePoint(97 + index));

/** The AtollError behind a failed call. */
export function reasonOf(error: unknown): string {
  const known: AtollError = isAtollError(error) ? error : fromServiceError(error);
  return known.reason;
}

// A small cluster in one process: storage nodes with real servers, one in-memory etcd, and the spec as coordinator.
import { credentials } from '@grpc/grpc-js';
import type { SpanProcessor } from '@opentelemetry/sdk-trace-base';
import { CacheClient, type GetRequest, type GetResponse, type SetRequest, type SetResponse } from '@atoll/contracts/atoll/v1/cache';
import { HeartbeatClient } from '@atoll/contracts/atoll/v1/heartbeat';
import { ReplicationClient, type DigestReplicaResponse, type HeldReplica } from '@atoll/contracts/atoll/v1/replication';
import { TransferClient, type GetTransfersResponse, type LimitTransfersRequest, type ShardTransfersRequest } from '@atoll/contracts/atoll/v1/transfer';
import { isAtollError, type AtollError } from '@atoll/core-errors';
import { createKeyspaceSpec, type KeyspaceRequest, type KeyspaceSpec, type Member, type PartitionRecord, type VersionedRecord } from '@atoll/core-membership';
import { MIB, SeededRandom, randomHex, toEpoch, toNodeId, toPartitionId, toReplicaId } from '@atoll/core-runtime';
import { formatAddress } from '@atoll/platform-config';
import { encodeKeyspaceSpec, encodePartitionRecord, keyspaceKey, parsePartitionRecord, partitionKey, readClusterIdentity } from '@atoll/platform-etcd';
import { InMemoryEtcd, InMemoryMetadataStore, eventually } from '@atoll/platform-etcd/testing';
import { callUnary } from '@atoll/platform-grpc';
import { createLogger, startTelemetry, type Telemetry } from '@atoll/platform-telemetry';
import { readConfig } from '../config.ts';
import type { HostedReplica } from '../hosted-replica.ts';
import { startStorageNode, type StorageNode, type StorageNodeOptions } from '../storage-node.ts';
import { TcpGate } from './tcp-gate.ts';

export const DEADLINE = { deadlineMs: 30_000 };
const EMPTY = Buffer.alloc(0);
const COORDINATOR_REVISION = 10;
const ELECTION_KEY = 'coordinator/the-spec';

export const getRequest = (key: string, changes: Partial<GetRequest> = {}): GetRequest => ({
  keyspace: 'default',
  key: Buffer.from(key),
  consistency: 0,
  maxStalenessMs: 0,
  session: EMPTY,
  ...changes,
});

export const setRequest = (key: string, value: string | Buffer, changes: Partial<SetRequest> = {}): SetRequest => ({
  keyspace: 'default',
  key: Buffer.from(key),
  value: Buffer.from(value),
  ttlMs: 0,
  noExpiry: false,
  condition: 0,
  expectedVersion: EMPTY,
  ack: 0,
  opId: undefined,
  session: EMPTY,
  ...changes,
});

/** The AtollError with which a call failed; a call that succeeds is a failure of the spec. */
export async function failureOf(call: Promise<unknown>): Promise<AtollError> {
  try {
    await call;
  } catch (error) {
    if (isAtollError(error)) return error;
    throw error;
  }
  throw new Error('the call succeeded');
}

/** Nobody coordinates here: what partitions lack nobody gives them before the spec does. */
const LACKS = /^(it has the only in-sync replica|too few replicas are in sync) of /;

/** One running storage node, with its clients. */
export class WorldNode {
  readonly id: string;
  readonly node: StorageNode;
  readonly store: InMemoryMetadataStore;
  readonly telemetry: Telemetry;
  readonly cache: CacheClient;
  readonly replication: ReplicationClient;
  readonly heartbeat: HeartbeatClient;
  readonly transfer: TransferClient;
  #stopped: Promise<void> | undefined;

  constructor(options: { id: string; node: StorageNode; store: InMemoryMetadataStore; telemetry: Telemetry }) {
    this.id = options.id;
    this.node = options.node;
    this.store = options.store;
    this.telemetry = options.telemetry;
    const address = formatAddress(this.node.address);
    this.cache = new CacheClient(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': 80 * MIB });
    this.replication = new ReplicationClient(address, credentials.createInsecure());
    this.heartbeat = new HeartbeatClient(address, credentials.createInsecure());
    this.transfer = new TransferClient(address, credentials.createInsecure());
  }

  get(key: string, changes: Partial<GetRequest> = {}): Promise<GetResponse> {
    return callUnary(this.cache, 'get', getRequest(key, changes), DEADLINE);
  }

  /** The value as text; undefined when there is none. */
  async text(key: string, changes: Partial<GetRequest> = {}): Promise<string | undefined> {
    const { found, value } = await this.get(key, changes);
    return found ? value.toString() : undefined;
  }

  set(key: string, value: string | Buffer, changes: Partial<SetRequest> = {}): Promise<SetResponse> {
    return callUnary(this.cache, 'set', setRequest(key, value, changes), DEADLINE);
  }

  async held(keyspace = 'default'): Promise<HeldReplica[]> {
    const { replicas } = await callUnary(this.replication, 'listReplicas', {}, DEADLINE);
    return replicas.filter((replica) => replica.keyspace === keyspace);
  }

  digest(keyspace = 'default', partition = 0): Promise<DigestReplicaResponse> {
    return callUnary(this.replication, 'digestReplica', { keyspace, partition }, DEADLINE);
  }

  transfers(): Promise<GetTransfersResponse> {
    return callUnary(this.transfer, 'getTransfers', {}, DEADLINE);
  }

  limitTransfers(changes: Partial<LimitTransfersRequest>): Promise<object> {
    return callUnary(this.transfer, 'limitTransfers', { coordinatorRevision: COORDINATOR_REVISION, bytesPerSecond: 0, validMs: 60_000, ...changes }, DEADLINE);
  }

  /** Has the full sync that fills its replica of partition 0 split; 1: no more. */
  shardTransfers(shards: number, changes: Partial<ShardTransfersRequest> = {}): Promise<object> {
    const transfers = shards > 1 ? [{ keyspace: 'default', partition: 0, shards }] : [];
    return callUnary(this.transfer, 'shardTransfers', { coordinatorRevision: COORDINATOR_REVISION, transfers, validMs: 60_000, ...changes }, DEADLINE);
  }

  openStreams(rpc: string): Promise<number> {
    return this.metric('atoll_rpc_server_open_streams', `rpc="${rpc}"`);
  }

  /** Value of a metric, as Prometheus reads it; `label` as it stands there. */
  async metric(name: string, label = ''): Promise<number> {
    const text = await new Promise<string>((resolve) => {
      this.telemetry.handleMetricsRequest({} as never, { setHeader: () => undefined, end: resolve, statusCode: 200 } as never);
    });
    const line = text.split('\n').find((each) => /^[a-z_]+/.exec(each)?.[0] === name && each.includes(label));
    return Number(line?.split(' ')[1]);
  }

  /** The replica itself, for specs that damage it. */
  replica(keyspace = 'default', partition = 0): HostedReplica {
    const hosted = this.node.parts()?.host.replica(keyspace, partition);
    if (hosted === undefined) throw new Error(`${this.id} has no replica of ${keyspace}/${partition}`);
    return hosted;
  }

  stop(timeoutMs = 5000): Promise<void> {
    this.#stopped ??= this.#stop(timeoutMs);
    return this.#stopped;
  }

  async #stop(timeoutMs: number): Promise<void> {
    this.cache.close();
    this.replication.close();
    this.heartbeat.close();
    this.transfer.close();
    await this.node.stop(AbortSignal.timeout(timeoutMs));
    await this.telemetry.shutdown();
  }
}

export interface NodeOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Address that the node gives to others. */
  readonly gate?: TcpGate;
  /** etcd cannot be reached by this node at first. Default false. */
  readonly isEtcdAway?: boolean;
  readonly readClocks?: StorageNodeOptions['readClocks'];
  /** Hears of every span that the node ends. */
  readonly spanProcessor?: SpanProcessor;
}

export class NodeWorld {
  readonly etcd = new InMemoryEtcd();
  readonly #seed: number;
  readonly #random: SeededRandom;
  readonly #store: InMemoryMetadataStore;
  readonly #stops: (() => Promise<void>)[] = [];

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = new SeededRandom(seed);
    this.#store = new InMemoryMetadataStore({ etcd: this.etcd });
    this.etcd.transact([], [{ kind: 'put', key: ELECTION_KEY, value: JSON.stringify({ id: 'the-spec', address: '127.0.0.1:1' }) }]);
  }

  /** From now on no coordinator is elected. */
  resign(): void {
    this.etcd.transact([], [{ kind: 'delete', key: ELECTION_KEY }]);
  }

  get seed(): number {
    return this.#seed;
  }

  async clusterId(): Promise<string> {
    return (await readClusterIdentity(this.#store))!.id;
  }

  /** A door for one node: give it to `start`. */
  async gate(): Promise<TcpGate> {
    const gate = await TcpGate.listen();
    this.#stops.push(() => gate.end());
    return gate;
  }

  /** Resolves when the node listens. */
  async launch(id: string, { env = {}, gate, isEtcdAway = false, readClocks, spanProcessor }: NodeOptions = {}): Promise<WorldNode> {
    const config = readConfig({
      ATOLL_ID: id,
      ATOLL_LISTEN: '127.0.0.1:0',
      ATOLL_HTTP_LISTEN: '127.0.0.1:0',
      STORAGE_NODE_MEMORY_BYTES_MAX: '64MiB',
      STORAGE_NODE_HEARTBEAT_MS: '20',
      STORAGE_NODE_REJOIN_AFTER_MS: '50',
      ...(gate !== undefined && { ATOLL_ADVERTISE: gate.address }),
      ...env,
    });
    const telemetry = await startTelemetry({ service: 'storage-node', instanceId: id, version: '0', traceRatio: 0, spanProcessors: spanProcessor === undefined ? [] : [spanProcessor] });
    const logger = createLogger({ service: 'storage-node', instanceId: id, level: process.env['SPEC_LOG'] === '1' ? 'debug' : 'silent', format: 'json' });
    const store = new InMemoryMetadataStore({ etcd: this.etcd });
    if (isEtcdAway) store.goAway();
    const node = await startStorageNode({ config: { ...config, httpListen: env.ATOLL_HTTP_LISTEN === undefined ? undefined : config.httpListen }, logger, telemetry, store, random: new SeededRandom(this.#random.nextUint32()), ...(readClocks !== undefined && { readClocks }) });
    gate?.leadTo(node.address);
    const started = new WorldNode({ id, node, store, telemetry });
    this.#stops.push(() => started.stop(500));
    return started;
  }

  /** Resolves when the node is registered. */
  async start(id: string, options: NodeOptions = {}): Promise<WorldNode> {
    const node = await this.launch(id, options);
    await eventually(`${id} is registered`, () => {
      const { ready, reasons } = node.node.readiness();
      return ready || reasons.every((reason) => LACKS.test(reason));
    });
    return node;
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.reverse()) await stop();
    await this.#store.close();
  }

  /** A keyspace whose partitions all lie on `nodes`: the first leads, and all are in sync. */
  async createKeyspace(request: Partial<KeyspaceRequest>, nodes: readonly WorldNode[]): Promise<KeyspaceSpec> {
    const spec = createKeyspaceSpec({ name: 'default', id: randomHex(this.#random, 8), partitionCount: 1, replicationFactor: Math.max(1, nodes.length), minInSync: 1, ...request });
    this.etcd.transact([], [{ kind: 'put', key: keyspaceKey(spec.name), value: encodeKeyspaceSpec(spec) }]);
    const partitions = Array.from({ length: spec.partitionCount }, (_, index) => index);
    const members: Member[][] = [];
    let incarnation = '';
    for (const node of [...nodes].reverse()) {
      const made = await this.ensure(node, spec, partitions);
      incarnation = made.incarnation;
      members.unshift(made.members);
    }
    for (const partition of partitions) {
      const inSync = members.map((each) => each[partition]!);
      this.#put({
        keyspace: spec.name,
        keyspaceId: spec.id,
        partition: toPartitionId(partition),
        state: 'ACTIVE',
        generation: { counter: 1, id: 'g1' },
        epoch: toEpoch(1),
        leader: inSync[0],
        leaderIncarnation: incarnation,
        relinquished: false,
        inSync,
        eligible: [],
        learners: [],
        leaving: [],
        changeId: 'made',
      });
    }
    await this.serving(nodes[0]!, spec.name);
    return spec;
  }

  async ensure(node: WorldNode, spec: { readonly name: string; readonly id: string }, partitions: readonly number[] = [0], coordinatorRevision = COORDINATOR_REVISION, traceparent?: string) {
    const request = { keyspaceId: spec.id, keyspace: spec.name, partitions: [...partitions], coordinatorRevision };
    const { incarnation, replicas } = await callUnary(node.replication, 'ensureReplicas', request, { ...DEADLINE, traceparent });
    const members = replicas.map(({ replicaId }): Member => ({ node: toNodeId(node.id), replica: toReplicaId(replicaId) }));
    return { incarnation, members, member: members[0]! };
  }

  /** Has partition 0 filled at `node`, whose replica then comes in sync. */
  async addLearner(node: WorldNode, spec: { readonly name: string; readonly id: string }, traceparent?: string): Promise<Member> {
    const { member } = await this.ensure(node, spec, [0], COORDINATOR_REVISION, traceparent);
    this.change(() => ({ learners: [member] }));
    return member;
  }

  record(keyspace = 'default', partition = 0): VersionedRecord {
    const stored = this.etcd.get(partitionKey(keyspace, partition));
    const parsed = stored === undefined ? undefined : parsePartitionRecord(stored.value);
    if (parsed?.kind !== 'parsed') throw new Error(`there is no record of ${keyspace}/${partition}`);
    return { record: parsed.value, modRevision: stored!.modRevision };
  }

  /** As the coordinator does: on top of whatever stands. */
  change(changes: (record: PartitionRecord) => Partial<PartitionRecord>, keyspace = 'default', partition = 0): void {
    const { record } = this.record(keyspace, partition);
    this.#put({ ...record, ...changes(record), changeId: randomHex(this.#random, 8) });
  }

  /** Another leader, or another term of the same one; `dropped` members leave the in-sync set in the same write. */
  async promote(node: WorldNode, options: { keyspace?: string; partition?: number; dropped?: readonly string[]; relinquished?: boolean } = {}): Promise<void> {
    const { keyspace = 'default', partition = 0, dropped = [], relinquished = false } = options;
    const { incarnation } = await callUnary(node.replication, 'listReplicas', {}, DEADLINE);
    this.change(
      (record) => {
        const leader = record.inSync.find((member) => member.node === node.id);
        if (leader === undefined) throw new Error(`${node.id} is not in sync`);
        const inSync = record.inSync.filter((member) => !dropped.includes(member.node));
        const learners = [...record.learners, ...record.inSync.filter((member) => dropped.includes(member.node))];
        return { epoch: toEpoch(record.epoch + 1), leader, leaderIncarnation: incarnation, inSync, learners, relinquished };
      },
      keyspace,
      partition,
    );
  }

  /** Until the node answers STRONG reads of partition 0. */
  async serving(node: WorldNode, keyspace = 'default'): Promise<void> {
    await eventually(`${node.id} serves ${keyspace}`, () =>
      node.get('any', { keyspace }).then(
        () => true,
        (error: AtollError) => (['NOT_LEADER', 'PARTITION_UNAVAILABLE', 'KEYSPACE_NOT_FOUND'].includes(error.reason) ? false : Promise.reject(error)),
      ),
    );
  }

  /** Until the record lists exactly these nodes as in sync. */
  inSync(nodes: readonly string[], keyspace = 'default', partition = 0): Promise<PartitionRecord> {
    return eventually(`in sync are ${nodes.join(', ')}`, () => {
      const { record } = this.record(keyspace, partition);
      const present = record.inSync.map((member) => member.node as string).sort();
      return present.join() === [...nodes].sort().join() ? record : undefined;
    });
  }

  /** Until all of them hold the same entries (I6); resolves to how many. */
  equalDigests(nodes: readonly WorldNode[], keyspace = 'default', partition = 0): Promise<number> {
    return eventually('equal digests', async () => {
      const [first, ...others] = await Promise.all(nodes.map((node) => node.digest(keyspace, partition)));
      const isEqual = others.every((other) => other.content === first!.content && other.entries === first!.entries && other.applied?.seq === first!.applied?.seq);
      return isEqual ? first!.entries : undefined;
    });
  }

  #put(record: PartitionRecord): void {
    this.etcd.transact([], [{ kind: 'put', key: partitionKey(record.keyspace, record.partition), value: encodePartitionRecord(record) }]);
  }
}


// Composition root: servers first, so that probes and callers are told what is missing; then etcd and the disk, then
// the replicas, then the registration. A node grants, acknowledges and serves nothing before it has read its records (R12).
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import { ReplicationClient } from '@atoll/contracts/atoll/v1/replication';
import { AtollError, invalidArgument, isAtollError } from '@atoll/core-errors';
import { hasReplica, namesText, poolOf, stopRiskOf, withPool, type NodeRecord, type StopRisk } from '@atoll/core-membership';
import type { ClockReading } from '@atoll/core-replication';
import { randomHex, toNodeId, type Random } from '@atoll/core-runtime';
import { formatAddress, reachableAt, type Address } from '@atoll/platform-config';
import { registerNode, type ClusterChange, type ClusterView, type GuardedMetadataStore, type MetadataStore, type NodeRegistration } from '@atoll/platform-etcd';
import { callUnary, createChannelOptions, createGrpcServer } from '@atoll/platform-grpc';
import { connectMetadata, guardMetadata, openCluster } from '@atoll/platform-lifecycle';
import { startHttpEndpoint, type HttpEndpoint, type Logger, type Readiness, type Telemetry } from '@atoll/platform-telemetry';
import { CacheOperations } from './cache/cache-operations.ts';
import { OperationMetrics } from './cache/operation-metrics.ts';
import type { Config } from './config.ts';
import { COPIES_TICK_MS, Copies } from './copy/copies.ts';
import { ArchiveSource } from './archive/archive-source.ts';
import { EntryMerges } from './archive/entry-merges.ts';
import { CopySource } from './copy/copy-source.ts';
import { Discards } from './discards/discards.ts';
import { DiskHealth } from './disk-health.ts';
import { StorageNodeEvents } from './events.ts';
import { readClocks } from './heartbeat/clocks.ts';
import { CoordinatorFence } from './heartbeat/coordinator-fence.ts';
import { Heartbeats } from './heartbeat/heartbeats.ts';
import { ReplicaHandlers } from './handlers/replicas.ts';
import { TransferHandlers } from './handlers/transfers.ts';
import { DiskSpace } from './disk-space.ts';
import { MarkFile } from './mark-file.ts';
import { addNodeMetrics } from './node-metrics.ts';
import { RecordKeeper } from './record-keeper.ts';
import { ReplicaHost } from './replica-host.ts';
import { ClientLatency } from './replication/client-latency.ts';
import { LeaderLinks } from './replication/leader-links.ts';
import { LeaderSessions } from './replication/leader-sessions.ts';
import { SnapshotReceiver } from './replication/snapshot-receiver.ts';
import { SnapshotSender } from './replication/snapshot-sender.ts';
import { SyncThrottle, THROTTLE_INTERVAL_MS } from './replication/sync-throttle.ts';
import { TracedWrites } from './replication/traced-writes.ts';
import { addServices, type ServingParts } from './server.ts';
import { TurnEnd, readMoment } from './turn.ts';
import { Verification } from './verify/verification.ts';
import { Watches } from './watch/watches.ts';
import { openWal, type Wal, type WalReplicaState } from './wal/index.ts';

const PROBE_MS = 1000;
const INSTALLS_AT_ONCE = 8;
/** Of a stop: how long the coordinator has to hand the offices over, what is left has to commit, and successors to come. */
const HAND_OVER_MS = 5000;
const RELINQUISH_MS = 1000;
const SUCCESSOR_MS = 2000;
/** Of a stop: how long etcd, or a coordinator, has to be away before nobody is waited for. A busy machine loses sight of them for moments. */
const NOBODY_MS = 1000;
/** Of a stop: how long leaders of others have to take this node's replicas out of their in-sync sets. */
const LEAVE_MS = 2000;
/** A line of the log names so many partitions. */
const PARTITIONS_TOLD_MAX = 20;
const SLOW_TICK_MS = 1000;
const REGISTER_RETRY_MS = 500;

export interface StorageNodeOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly telemetry: Telemetry;
  /** Default: etcd at `config.etcdEndpoints`; closed by `stop`. */
  readonly store?: MetadataStore;
  readonly random?: Random;
  /** What the clock of leases is compared with (R17). Default: the clocks of this machine. */
  readonly readClocks?: () => ClockReading;
}

export interface StorageNode {
  /** Bound address of the gRPC server. */
  readonly address: Address;
  readonly httpAddress: Address | undefined;
  readonly readiness: () => Readiness;
  /** What serves; undefined until the node has read its records (R12). For specs that look inside, or do damage. */
  readonly parts: () => ServingParts | undefined;
  /** Rejects when this process must end: its id was taken, its disk failed, another cluster. Pending otherwise. */
  readonly failed: Promise<never>;
  /** Hands its leaderships over, finishes what is under way and closes everything. */
  stop(signal: AbortSignal): Promise<void>;
}

/** The system's randomness, drawn in pieces of 4 KiB: leaders ask for some at every tick. */
function createSystemRandom(): Random {
  let pool = Buffer.alloc(0);
  let at = 0;
  return {
    nextUint32: () => {
      if (at + 4 > pool.length) {
        pool = randomBytes(4096);
        at = 0;
      }
      at += 4;
      return pool.readUInt32LE(at - 4);
    },
  };
}

/** Resolves when the servers listen; etcd may still be away. Throws StartupError for a busy port. */
export async function startStorageNode(options: StorageNodeOptions): Promise<StorageNode> {
  const { config, logger, telemetry, random = createSystemRandom() } = options;
  const markFile = config.dataDir === undefined ? undefined : await MarkFile.open(config.dataDir, logger);
  const store = guardMetadata({ store: options.store ?? connectMetadata(config.etcdEndpoints, telemetry.metrics), logger, metrics: telemetry.metrics, seen: markFile?.seen });
  markFile?.follow(() => (store.clusterId === undefined ? undefined : { clusterId: store.clusterId, mark: store.mark }));
  const incarnation = randomHex(random, 8);
  const turn = new TurnEnd();
  const events = new StorageNodeEvents({ logger, telemetry });
  const latency = new ClientLatency();
  const stopping = new AbortController();
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  let running: RunningNode | undefined;
  let waitingFor = 'etcd';

  const readiness = (): Readiness => running?.readiness() ?? { ready: false, reasons: [`waiting for ${store.isRegressed ? `the recovery of the metadata: ${store.reasons.join('; ')}` : waitingFor}`] };
  const grpc = createGrpcServer({ telemetry, logger });
  const health = addServices({
    grpc,
    telemetry,
    turn,
    metrics: new OperationMetrics({ metrics: telemetry.metrics, latency }),
    parts: () => {
      if (running === undefined) throw new AtollError('METADATA_UNAVAILABLE', `the node waits for ${waitingFor}`);
      return running.parts;
    },
  });
  let http: HttpEndpoint | undefined;
  let address: Address;
  try {
    if (config.httpListen !== undefined) {
      http = await startHttpEndpoint({ listen: config.httpListen, metrics: telemetry.handleMetricsRequest, settings: config.shownSettings, readiness });
    }
    address = await grpc.listen(config.listen);
  } catch (error) {
    await http?.close();
    await markFile?.close();
    await store.close();
    throw error;
  }
  const advertised = config.advertise.port === 0 ? { host: config.advertise.host, port: address.port } : config.advertise;

  const open = async (): Promise<void> => {
    const createId = (): string => randomHex(random, 8);
    const view = await openCluster({ store, logger, metrics: telemetry.metrics, clusterId: config.clusterId, createId, signal: stopping.signal });
    if (view === undefined) return;
    waitingFor = 'the write-ahead log';
    running = await RunningNode.open({
      ...options,
      random,
      store,
      view,
      incarnation,
      turn,
      events,
      latency,
      httpAddress: http === undefined ? '' : formatAddress(reachableAt(http.address, advertised.host)),
      advertised: formatAddress(advertised),
      onFatal: (error) => failed.reject(error),
    });
    await running.register(stopping.signal);
    health.setServing(true);
  };
  const opening = open().catch((error: unknown) => failed.reject(error));
  logger.info({ address: formatAddress(address), http: http && formatAddress(http.address), incarnation }, 'listening');

  return {
    address,
    httpAddress: http?.address,
    readiness,
    parts: () => running?.parts,
    failed: failed.promise,
    stop: async (signal) => {
      health.setServing(false);
      stopping.abort();
      await untilAborted(opening, signal);
      if (running !== undefined) await untilAborted(running.handOver(signal), signal);
      await grpc.close(signal);
      await running?.close();
      await http?.close();
      await markFile?.close();
      await store.close();
    },
  };
}

interface RunningOptions extends Omit<StorageNodeOptions, 'store'> {
  readonly random: Random;
  readonly store: GuardedMetadataStore;
  readonly view: ClusterView;
  readonly incarnation: string;
  readonly turn: TurnEnd;
  readonly events: StorageNodeEvents;
  readonly latency: ClientLatency;
  readonly httpAddress: string;
  readonly advertised: string;
  readonly onFatal: (error: unknown) => void;
}

/** A node that has read etcd and its disk: replicas, streams, timers, registration. */
class RunningNode {
  readonly parts: ServingParts;
  readonly #options: RunningOptions;
  readonly #wal: Wal | undefined;
  readonly #records: RecordKeeper;
  readonly #sessions: LeaderSessions;
  readonly #links: LeaderLinks;
  readonly #snapshots: SnapshotReceiver;
  readonly #throttle: SyncThrottle;
  readonly #heartbeats: Heartbeats;
  readonly #discards: Discards;
  readonly #timers: NodeJS.Timeout[] = [];
  #registration: NodeRegistration | undefined;
  #unsubscribe: (() => void) | undefined;

  private constructor(options: RunningOptions, wal: Wal | undefined, disk: DiskHealth) {
    const { config, view, store, logger, telemetry, random, incarnation, turn, events, latency } = options;
    this.#options = options;
    this.#wal = wal;
    this.#records = new RecordKeeper({ store, logger });
    this.#discards = new Discards({ dataDir: config.dataDir, isScarce: (hosted) => host.isMemoryScarce(hosted), events, logger });
    const host: ReplicaHost = new ReplicaHost({ ...config, node: toNodeId(config.id), incarnation, random, view, records: this.#records, wal, disk, events, discards: this.#discards, logger });
    const traces = new TracedWrites();
    const addressOf = (node: string): string | undefined => view.nodes().get(node)?.address;
    const uniform = (): number => random.nextUint32() / 2 ** 32;
    const { clusterId } = view;
    this.#sessions = new LeaderSessions({ host, clusterId, turn, events, traces, hasStopped: (node) => this.#heartbeats.hasStopped(node) });
    this.#snapshots = new SnapshotReceiver({
      clusterId,
      concurrent: INSTALLS_AT_ONCE,
      addressOf,
      onProgress: (hosted) => this.#links.onDurable(hosted),
      tracing: telemetry.tracing,
      logger,
      random: uniform,
      bytesReceived: telemetry.metrics.counter('atoll_install_bytes_total', { description: 'Bytes of keys and values that full syncs brought here.', unit: 'By' }),
    });
    this.#links = new LeaderLinks({
      clusterId,
      node: config.id,
      incarnation,
      turn,
      events,
      logger,
      tracing: telemetry.tracing,
      random: uniform,
      addressOf,
      freeBytes: (hosted) => host.keyspace(hosted.keyspace)?.account.freeBytes ?? 0,
      onInstall: (hosted) => this.#snapshots.install(hosted),
      onIdle: (hosted) => this.#snapshots.cancel(hosted),
      isJournalFull: () => host.isJournalFull,
    });
    const fence = new CoordinatorFence();
    this.#heartbeats = new Heartbeats({ config, incarnation, view, store, host, fence, disk, discards: this.#discards, turn, metrics: telemetry.metrics, logger, random: uniform, readClocks: options.readClocks ?? readClocks, onLoopLag: (ms) => latency.recordLoopLag(ms) });
    host.connect(this.#sessions, this.#links, this.#heartbeats);
    const stalenessMs = this.#links.stalenessMs.bind(this.#links);
    const operations = new CacheOperations({ host, view, traces, metrics: telemetry.metrics, stalenessMs });
    this.#throttle = new SyncThrottle({ ...config, latency, metrics: telemetry.metrics });
    this.parts = {
      clusterId,
      view,
      host,
      operations,
      replicas: new ReplicaHandlers({ host, view, store, incarnation, fence }),
      sessions: this.#sessions,
      watches: new Watches({ host, operations, metrics: telemetry.metrics, watchesMax: config.watchesMax }),
      heartbeats: this.#heartbeats,
      snapshots: new SnapshotSender({ syncsMax: config.syncsMax, host, clusterId, throttle: this.#throttle, metrics: telemetry.metrics }),
      copies: new Copies({ host, view, clusterId, incarnation, metrics: telemetry.metrics, tracing: telemetry.tracing, logger, random: uniform, onDiscards: (hosted, report) => this.#discards.resynced(hosted, report) }),
      copySource: new CopySource({ host, clusterId, throttle: this.#throttle, keyspaces: () => view.keyspaces().values() }),
      archiveSource: new ArchiveSource({ host, clusterId, throttle: this.#throttle }),
      entryMerges: new EntryMerges({ host, clusterId, operations }),
      transfers: new TransferHandlers({ host, incarnation, fence, throttle: this.#throttle, snapshots: this.#snapshots }),
      verification: new Verification({ host, fence, clusterId, addressOf, metrics: telemetry.metrics, logger }),
    };
    addNodeMetrics(telemetry.metrics, { host, wal, stalenessMs, installsRunning: () => this.#snapshots.runningCount, space: config.dataDir === undefined ? undefined : new DiskSpace(config.dataDir) });
  }

  static async open(options: RunningOptions): Promise<RunningNode> {
    const { config, view, logger } = options;
    const disk = new DiskHealth();
    if (config.dataDir === undefined) {
      const node = new RunningNode(options, undefined, disk);
      await node.#start([]);
      return node;
    }
    const { wal, replicas, report } = await openWal({
      directory: config.dataDir,
      clusterId: view.clusterId,
      nodeId: toNodeId(config.id),
      onFatal: (error) => {
        disk.failed(error);
        options.onFatal(error);
      },
      onFlush: (phase) => (phase === 'began' ? disk.flushBegan(performance.now()) : disk.flushEnded(performance.now())),
    });
    logger.info({ ...report, droppedReplicas: report.droppedReplicas.length, replicas: replicas.length }, 'the write-ahead log has been read');
    const node = new RunningNode(options, wal, disk);
    await node.#start(replicas);
    return node;
  }

  readiness(): Readiness {
    const { store, view, config, incarnation } = this.#options;
    const reasons: string[] = [];
    // What others lack is judged by the view: it must count this process among those that could hold it.
    const isRegistered = this.#registration?.isRegistered() === true && view.nodes().get(config.id)?.incarnation === incarnation;
    if (!isRegistered && view.connected) reasons.push('the node is not registered');
    let filling = 0;
    for (const { replica } of this.parts.host.replicas()) if (!replica.state.hasAllData && replica.state.install === undefined && replica.role.kind === 'follower') filling += 1;
    if (filling > 0) reasons.push(`${filling} replicas wait for their first data`);
    const { lastInSync, underReplicated } = this.#stopRisk();
    if (lastInSync.length > 0) reasons.push(`it has the only in-sync replica of ${namesText(lastInSync)}`);
    else if (underReplicated.length > 0) reasons.push(`too few replicas are in sync of ${namesText(underReplicated)}`);
    // It serves on (R13).
    const notes = store.isRegressed ? [`etcd went back: changes wait for the recovery of the metadata (${store.reasons.join('; ')})`] : [];
    return { ready: reasons.length === 0, reasons: [...reasons, ...notes] };
  }

  /** Whoever restarts nodes one after the other waits for each to be ready: the next stop must not take what this one still lacks. */
  #stopRisk(): StopRisk {
    const { config, view } = this.#options;
    return stopRiskOf(toNodeId(config.id), { keyspaces: view.keyspaces().values(), recordsOf: (name) => view.partitions(name), nodes: view.nodes() });
  }

  async #start(saved: readonly WalReplicaState[]): Promise<void> {
    const { config, view } = this.#options;
    const { host } = this.parts;
    for (const replica of saved) await host.restore(replica);
    for (const { keyspace, partition } of host.replicas()) host.onPartition(keyspace, partition);
    this.#unsubscribe = view.subscribe((changes) => this.#onChanges(changes));
    const every = (ms: number, action: () => void): void => void this.#timers.push(setInterval(action, ms));
    every(config.heartbeatMs, () => {
      const now = readMoment();
      this.#heartbeats.tick(now);
      host.tick(now);
      this.#discards.tick(now.monotonicMs);
      this.#sessions.tick(now.monotonicMs);
    });
    every(SLOW_TICK_MS, () => {
      this.#links.tick();
      this.#snapshots.tick(performance.now());
    });
    every(COPIES_TICK_MS, () => this.parts.copies.tick());
    every(THROTTLE_INTERVAL_MS, () => this.#throttle.tick(performance.now()));
  }

  /** Tells the coordinator that this node may be given replicas; comes again while etcd is away. */
  async register(signal: AbortSignal): Promise<void> {
    const { config, store, view, logger, incarnation, onFatal } = this.#options;
    const known = view.nodeSpecs().get(config.id);
    if (known !== undefined && poolOf(known) !== config.pool) throw invalidArgument('STORAGE_NODE_POOL', `is ${config.pool}, and ${config.id} has joined pool ${poolOf(known)}: a node of another pool needs another ATOLL_ID`);
    while (!signal.aborted) {
      try {
        this.#registration = await registerNode(store, this.#nodeRecord('SERVING'), {
          ttlMs: config.registrationTtlMs,
          probe: probeIncarnation,
          onTaken: (by) => onFatal(new AtollError('NODE_ID_TAKEN', `another process took the id ${config.id} over, at ${by.address} (R5)`)),
          onRegistered: (registered) => logger.info({ registered, incarnation }, registered ? 'registered' : 'the registration has lapsed and is renewed'),
          onProblem: (problem) => logger.warn({ problem }, 'registration'),
        });
        return;
      } catch (error) {
        if (!isAtollError(error) || error.reason !== 'METADATA_UNAVAILABLE') throw error;
        logger.warn({ err: error }, 'waiting for etcd to register');
        await pause(REGISTER_RETRY_MS, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  #onChanges(changes: readonly ClusterChange[]): void {
    const { host, copies } = this.parts;
    this.#heartbeats.onChanges(changes);
    for (const change of changes) {
      if (change.kind === 'keyspace') host.onKeyspace(change.name);
      else if (change.kind === 'partition') host.onPartition(change.keyspace, change.partition);
    }
    // A copy that has the place of its source is one from then on, also for who reads (R37).
    if (changes.some(({ kind }) => kind === 'keyspace')) copies.tick();
  }

  #nodeRecord(phase: NodeRecord['phase']): NodeRecord {
    const { config, incarnation, advertised, httpAddress } = this.#options;
    const { zone, pool, weight } = config;
    return { id: toNodeId(config.id), address: advertised, httpAddress, zone, ...withPool(pool), weight, incarnation, phase };
  }

  /**
   * Says that the node stops, so that the coordinator hands its offices over, a few at a time (R29). What is left then
   * is given up: successors of it wait for leases. Cut short by the signal.
   */
  async handOver(signal: AbortSignal): Promise<void> {
    const { logger } = this.#options;
    const { host } = this.parts;
    host.takeNoOffice();
    const { lastInSync } = this.#stopRisk();
    if (lastInSync.length > 0) logger.warn({ partitions: lastInSync.slice(0, PARTITIONS_TOLD_MAX), count: lastInSync.length }, 'this node stops although it has the only in-sync replica of partitions');
    await this.#registration?.update(this.#nodeRecord('STOPPING')).catch((err: unknown) => logger.warn({ err }, 'could not say in etcd that the node stops'));
    await this.#untilSucceeded(HAND_OVER_MS, signal);
    await host.relinquishAll(RELINQUISH_MS, signal);
    await this.#untilSucceeded(SUCCESSOR_MS, signal);
    await until(() => !this.#isCountedOn(), LEAVE_MS, signal);
  }

  /** Only an elected coordinator names successors: a cluster that is taken down has none any more. */
  #untilSucceeded(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const { view } = this.#options;
    let seenMs = performance.now();
    const isOver = (): boolean => {
      if (view.connected && view.coordinator() !== undefined) seenMs = performance.now();
      return performance.now() - seenMs > NOBODY_MS || !this.#isNamedLeader();
    };
    return until(isOver, timeoutMs, signal);
  }

  /** Whether some partition that has another in-sync member still names this process as its leader. */
  #isNamedLeader(): boolean {
    const { view, incarnation } = this.#options;
    for (const { keyspace, partition } of this.parts.host.replicas()) {
      const record = view.partition(keyspace, partition)?.record;
      if (record?.leaderIncarnation === incarnation && record.inSync.length > 1) return true;
    }
    return false;
  }

  /** Whether some leader elsewhere waits for this node's acknowledgements, and could do without them. */
  #isCountedOn(): boolean {
    const { view } = this.#options;
    if (!view.connected) return false;
    for (const { keyspace, partition, replica } of this.parts.host.replicas()) {
      const record = view.partition(keyspace, partition)?.record;
      const { self } = replica.state.identity;
      if (record?.leader === undefined || record.leader.node === self.node || !hasReplica(record.inSync, self.replica)) continue;
      const minInSync = view.keyspace(keyspace)?.minInSync ?? 1;
      if (record.inSync.length > Math.max(1, minInSync) && view.nodes().get(record.leader.node)?.phase === 'SERVING') return true;
    }
    return false;
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#unsubscribe?.();
    this.#heartbeats.close();
    this.parts.copies.close();
    this.parts.host.close();
    this.#snapshots.close();
    this.#links.close();
    this.#records.close();
    await this.#discards.close();
    await this.#wal?.close({ clean: true });
    await this.#registration?.deregister();
    await this.#options.view.close();
  }
}

/** Resolves when `isOver`, after `timeoutMs` or at the signal. */
async function until(isOver: () => boolean, timeoutMs: number, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!signal.aborted && !isOver() && performance.now() < deadline) await pause(10);
}

/** Waits for `work`, but no longer than until the signal. */
function untilAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const onEnd = (): void => {
      signal.removeEventListener('abort', onEnd);
      resolve();
    };
    signal.addEventListener('abort', onEnd);
    if (signal.aborted) onEnd();
    work.then(onEnd, onEnd);
  });
}

/** Incarnation of the process that answers at an address; undefined when none does (R5). */
async function probeIncarnation(address: string): Promise<string | undefined> {
  const client = new ReplicationClient(address, credentials.createInsecure(), createChannelOptions({ traffic: 'heartbeat' }));
  try {
    const { incarnation } = await callUnary(client, 'listReplicas', {}, { deadlineMs: PROBE_MS });
    return incarnation;
  } catch {
    return undefined;
  } finally {
    client.close();
  }
}

// Composition root: servers first, so that probes and callers are told what is missing; then etcd, then the
// election. All state is in etcd.
import { randomBytes } from 'node:crypto';
import { AdminService } from '@atoll/contracts/atoll/v1/admin';
import { CopyService } from '@atoll/contracts/atoll/v1/copy';
import { LocksService } from '@atoll/contracts/atoll/v1/locks';
import { StandbyService } from '@atoll/contracts/atoll/v1/standby';
import { randomHex, type Clock, type Random } from '@atoll/core-runtime';
import { formatAddress, type Address } from '@atoll/platform-config';
import { ClientLocks, RECOVERY_COMMAND, appendEvent, campaign, type ClusterView, type Election, type MetadataStore } from '@atoll/platform-etcd';
import { addStandardServices, createGrpcServer } from '@atoll/platform-grpc';
import { connectMetadata, guardMetadata, openCluster } from '@atoll/platform-lifecycle';
import { startHttpEndpoint, type HttpEndpoint, type Logger, type Readiness, type Telemetry } from '@atoll/platform-telemetry';
import { connectReplicationPeer, type ConnectPeer } from './adapters/replication-peer.ts';
import type { AdminContext } from './admin-context.ts';
import { addAdminService } from './admin-service.ts';
import type { Config } from './config.ts';
import { addCopyService } from './copy-service.ts';
import { createCoordinatorMetrics } from './coordinator-metrics.ts';
import { frozenKeyspaces } from './domain/frozen-keyspaces.ts';
import { describeNode, type NodeHealth } from './domain/node-state.ts';
import { countHealth } from './domain/partition-health.ts';
import { Events } from './events.ts';
import { addLocksService } from './locks-service.ts';
import { addStandbyService } from './standby-service.ts';
import { TermOfOffice } from './term-of-office.ts';

export interface CoordinatorOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly telemetry: Telemetry;
  /** Default: etcd as configured; closed by `stop`. */
  readonly store?: MetadataStore;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Default: gRPC. */
  readonly connect?: ConnectPeer;
}

export interface Coordinator {
  /** Bound address of the gRPC server. */
  readonly address: Address;
  /** Bound address of the HTTP endpoint; undefined when it is off. */
  readonly httpAddress: Address | undefined;
  readonly readiness: () => Readiness;
  /** Rejects when this process cannot do its work any more: another cluster's etcd. Otherwise pending until `stop`. */
  readonly failed: Promise<never>;
  /** Resigns, finishes what is under way and closes everything; what still runs when the signal aborts is cut off. */
  stop(signal: AbortSignal): Promise<void>;
}

/** A problem that lasts is told again after so long. */
const PROBLEM_INTERVAL_MS = 10_000;

const systemClock: Clock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() };
const systemRandom: Random = { nextUint32: () => randomBytes(4).readUInt32LE() };

/** Resolves when the servers listen; etcd may still be away. Throws StartupError for a busy port. */
export async function startCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const { config, logger, telemetry, clock = systemClock, random = systemRandom } = options;
  const { connect = (address: string) => connectReplicationPeer(address, config.nodeCallMs) } = options;
  const { common } = config;
  const store = guardMetadata({
    store: options.store ?? connectMetadata(common.etcdEndpoints, telemetry.metrics),
    logger,
    metrics: telemetry.metrics,
    beginsBehind: true,
    onRegressed: (reasons) => {
      if (heldTerm() !== undefined) events.metadataRegressed(reasons);
    },
  });
  const stopping = new AbortController();
  let view: ClusterView | undefined;
  let election: Election | undefined;
  let term: TermOfOffice | undefined;
  const heldTerm = (): TermOfOffice | undefined => (term?.isHeld() === true ? term : undefined);

  const judge = (node: string): NodeHealth =>
    describeNode(term?.verdict(node), { record: view?.nodes().get(node), spec: view?.nodeSpecs().get(node), nowMs: clock.monotonicMs() });
  const readiness = (): Readiness => {
    if (view === undefined) return { ready: false, reasons: ['waiting for etcd'] };
    // Whoever recovers must reach it.
    if (store.isRegressed) return { ready: true, reasons: [`etcd went back: nothing can be changed until ${RECOVERY_COMMAND} (${store.reasons.join('; ')})`] };
    return view.connected ? { ready: true, reasons: [] } : { ready: false, reasons: ['etcd is away: what was seen last is shown, nothing can be changed'] };
  };
  const metrics = createCoordinatorMetrics(telemetry.metrics, {
    isElected: () => heldTerm() !== undefined,
    nodeStates: () => [...new Set([...(view?.nodes().keys() ?? []), ...(view?.nodeSpecs().keys() ?? [])])].map((id) => judge(id).state),
    health: () => countHealth({ keyspaces: view?.keyspaces().values() ?? [], recordsOf: (name) => view?.partitions(name) ?? [], nodes: view?.nodes() ?? new Map() }),
    migrations: () => heldTerm()?.migrations.store,
    copies: () => heldTerm()?.copies.store.jobs() ?? [],
    standbys: () => heldTerm()?.copies.standbys.all() ?? [],
    frozen: () => frozenKeyspaces(view?.keyspaces().values() ?? [], clock.wallMs()),
  });

  const grpc = createGrpcServer({ telemetry, logger });
  const context: AdminContext = { id: common.id, store, random, view: () => view, term: heldTerm, judge };
  addAdminService(grpc.server, grpc.handlers, context);
  addCopyService(grpc.server, grpc.handlers, context);
  addStandbyService(grpc.server, grpc.handlers, context);
  const locks = new ClientLocks(store);
  addLocksService(grpc.server, grpc.handlers, { locks, random, view: () => view, requireSound: () => store.requireSound() });
  telemetry.metrics.gauge('atoll_coordinator_lock_waiters', { description: 'Lock requests that wait through this process.' }, () => locks.waiterCount);
  const health = addStandardServices(grpc.server, { services: [AdminService, LocksService, CopyService, StandbyService] });
  let http: HttpEndpoint | undefined;
  let address: Address;
  try {
    if (common.httpListen !== undefined) {
      http = await startHttpEndpoint({ listen: common.httpListen, metrics: telemetry.handleMetricsRequest, settings: common.shownSettings, readiness });
    }
    address = await grpc.listen(common.listen);
  } catch (error) {
    await http?.close();
    await store.close();
    throw error;
  }
  const advertised = formatAddress(common.advertise.port === 0 ? { host: common.advertise.host, port: address.port } : common.advertise);

  // One event at a time, in order; those that etcd does not take are in the log all the same.
  let appending: Promise<void> = Promise.resolve();
  const events = new Events({
    logger,
    metrics: telemetry.metrics,
    wallMs: () => clock.wallMs(),
    append: (event) => {
      appending = appending.then(() => appendEvent(store, event)).catch((err: unknown) => logger.warn({ err, kind: event.kind }, 'an event was not kept'));
    },
  });

  const open = async (): Promise<void> => {
    const opened = await openCluster({ store, logger, metrics: telemetry.metrics, clusterId: common.clusterId, createId: () => randomHex(random, 8), signal: stopping.signal });
    if (opened === undefined) return;
    let toldMs = -Infinity;
    view = opened;
    health.setServing(true);
    election = campaign(
      { store, id: common.id, address: advertised, ttlMs: config.electionTtlMs, signal: stopping.signal },
      {
        onElected: (revision, elected) => {
          logger.info({ revision }, 'elected');
          if (store.isRegressed) events.metadataRegressed(store.reasons);
          term = new TermOfOffice({ term: elected, store, view: opened, config, clock, random, telemetry, logger, metrics, events, connect });
        },
        onLost: (revision) => {
          logger.warn({ revision }, 'no longer elected');
          void term?.end();
          term = undefined;
        },
        onProblem: (err) => {
          if (clock.monotonicMs() - toldMs < PROBLEM_INTERVAL_MS) return;
          toldMs = clock.monotonicMs();
          logger.warn({ err }, 'cannot stand for election');
        },
      },
    );
  };
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  const opening = open().catch((error: unknown) => failed.reject(error));
  logger.info({ address: formatAddress(address), http: http && formatAddress(http.address) }, 'listening');

  return {
    address,
    httpAddress: http?.address,
    readiness,
    failed: failed.promise,
    stop: async (signal) => {
      health.setServing(false);
      stopping.abort();
      await opening;
      await locks.close();
      await term?.end();
      await election?.resign();
      await grpc.close(signal);
      await appending;
      await view?.close();
      await http?.close();
      await store.close();
    },
  };
}

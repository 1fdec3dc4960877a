// Composition root: servers first, so that probes and callers are told what is missing; then etcd, then the
// routing table. The router keeps nothing.
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { formatAddress, StartupError, type Address } from '@atoll/platform-config';
import { connectEtcd, openClusterView, type ClusterView, type MetadataStore } from '@atoll/platform-etcd';
import { createGrpcServer } from '@atoll/platform-grpc';
import { startHttpEndpoint, type HttpEndpoint, type Logger, type Readiness, type Telemetry } from '@atoll/platform-telemetry';
import type { Config } from './config.ts';
import { Dispatcher } from './dispatcher.ts';
import { OpIds } from './domain/op-ids.ts';
import { RoutingTable } from './domain/routing-table.ts';
import { RouterEvents } from './events.ts';
import type { Routing } from './handlers/router-context.ts';
import { RouterMetrics } from './metrics.ts';
import { addServices } from './server.ts';

export interface RouterOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly telemetry: Telemetry;
  /** Default: etcd at `config.common.etcdEndpoints`; closed by `stop`. */
  readonly store?: MetadataStore;
  /** Uniform in [0, 1): jitter and the choice among replicas. Default Math.random. */
  readonly random?: () => number;
}

export interface Router {
  /** Bound address of the gRPC server. */
  readonly address: Address;
  /** Bound address of the HTTP endpoint; undefined when it is off. */
  readonly httpAddress: Address | undefined;
  readonly readiness: () => Readiness;
  /** Operations under way. */
  readonly operationCount: () => number;
  /** Rejects when this process cannot do its work any more: another cluster's etcd. Otherwise pending until `stop`. */
  readonly failed: Promise<never>;
  /** Takes nothing new, finishes what is under way and closes everything; what still runs when the signal aborts is cut off. */
  stop(signal: AbortSignal): Promise<void>;
}

const ETCD_PAUSE_MS = 500;

/** Resolves when the servers listen; etcd may still be away. Throws StartupError for a busy port. */
export async function startRouter(options: RouterOptions): Promise<Router> {
  const { config, logger, telemetry, random = Math.random } = options;
  const store = options.store ?? connectEtcd({ endpoints: config.common.etcdEndpoints });
  const stopping = new AbortController();
  const metrics = new RouterMetrics(telemetry.metrics);
  const events = new RouterEvents(logger, telemetry.metrics);
  const nowMs = (): number => performance.now();
  let view: ClusterView | undefined;
  let routing: Routing | undefined;
  metrics.observeTable(() => view?.revision ?? 0);

  const readiness = (): Readiness => {
    if (view === undefined) return { ready: false, reasons: ['waiting for etcd: the routing table has not been read'] };
    // Requests go on by the table last seen (R12), so the router stays ready.
    return { ready: true, reasons: view.connected ? [] : ['etcd is away: requests go by the table last seen'] };
  };
  const needed = <T>(value: T | undefined): T => {
    if (value === undefined) throw new AtollError('METADATA_UNAVAILABLE', 'the router waits for etcd: the routing table has not been read');
    return value;
  };

  const grpc = createGrpcServer({ telemetry, logger });
  const health = addServices({
    grpc,
    deps: { routing: () => needed(routing), tracing: telemetry.tracing, events, nowMs },
    view: () => needed(view),
    streamWindowOperations: config.streamWindowOperations,
  });
  let http: HttpEndpoint | undefined;
  let address: Address;
  try {
    if (config.common.httpListen !== undefined) {
      http = await startHttpEndpoint({ listen: config.common.httpListen, metrics: telemetry.handleMetricsRequest, readiness });
    }
    address = await grpc.listen(config.common.listen);
  } catch (error) {
    await http?.close();
    await store.close();
    throw error;
  }

  const open = async (): Promise<void> => {
    const opened = await openView(store, { events, signal: stopping.signal });
    if (opened === undefined) return;
    const { clusterId } = config.common;
    if (clusterId !== undefined && clusterId !== opened.clusterId) {
      await opened.close();
      throw new StartupError(`etcd belongs to cluster ${opened.clusterId}, and ATOLL_CLUSTER_ID asks for ${clusterId}`);
    }
    const table = new RoutingTable(opened);
    const { operationsMax, bytesMax, resultBytesMax, link, retryBudget } = config;
    const dispatcher = new Dispatcher({ table, operationsMax, bytesMax, resultBytesMax, link, retryBudget, tracing: telemetry.tracing, metrics, events, nowMs, random });
    opened.subscribe((changes) => dispatcher.onChanges(changes));
    routing = { table, dispatcher, opIds: new OpIds(randomBytes(16)), heldResults: { bytes: 0, bytesMax: resultBytesMax } };
    view = opened;
    health.setServing(true);
    events.tableRead(opened.keyspaces().size, opened.nodes().size);
  };
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  const opening = open().catch((error: unknown) => failed.reject(error));
  logger.info({ address: formatAddress(address), http: http && formatAddress(http.address) }, 'listening');

  return {
    address,
    httpAddress: http?.address,
    readiness,
    operationCount: () => routing?.dispatcher.count ?? 0,
    failed: failed.promise,
    stop: async (signal) => {
      health.setServing(false);
      stopping.abort();
      await opening;
      routing?.dispatcher.drain();
      // Half of the time is for nodes to answer; then the rest is ended, so that callers still hear how.
      const cutOff = setTimeout(() => routing?.dispatcher.close(), config.common.shutdownMs / 2);
      await grpc.close(signal);
      clearTimeout(cutOff);
      routing?.dispatcher.close();
      await view?.close();
      await http?.close();
      await store.close();
    },
  };
}

/** Comes again until the table is read. Undefined when the signal aborts first. */
async function openView(store: MetadataStore, { events, signal }: { readonly events: RouterEvents; readonly signal: AbortSignal }): Promise<ClusterView | undefined> {
  let lastProblem = '';
  while (!signal.aborted) {
    try {
      const view = await openClusterView(store, { onProblem: (problem) => events.tableProblem(problem) });
      if (!signal.aborted) return view;
      await view.close();
    } catch (error) {
      if (!isAtollError(error)) throw error;
      if (error.message !== lastProblem) events.waitingForEtcd(error.message);
      lastProblem = error.message;
      await pause(ETCD_PAUSE_MS, undefined, { signal }).catch(() => undefined);
    }
  }
  return undefined;
}

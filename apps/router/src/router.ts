// Composition root: servers first, so that probes and callers are told what is missing; then etcd, then the
// routing table. The router keeps nothing.
import { randomBytes } from 'node:crypto';
import { AtollError } from '@atoll/core-errors';
import { formatAddress, type Address } from '@atoll/platform-config';
import type { ClusterView, MetadataStore } from '@atoll/platform-etcd';
import { createGrpcServer } from '@atoll/platform-grpc';
import { connectMetadata, guardMetadata, openCluster } from '@atoll/platform-lifecycle';
import { startHttpEndpoint, type HttpEndpoint, type Logger, type Readiness, type Telemetry } from '@atoll/platform-telemetry';
import type { Config } from './config.ts';
import { Dispatcher } from './dispatcher.ts';
import { OpIds } from './domain/op-ids.ts';
import { RoutingTable } from './domain/routing-table.ts';
import { RouterEvents } from './events.ts';
import type { Routing } from './handlers/router-context.ts';
import { RouterMetrics } from './metrics.ts';
import { RouterCopies } from './router-copies.ts';
import { RouterWatches } from './router-watches.ts';
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

/** Resolves when the servers listen; etcd may still be away. Throws StartupError for a busy port. */
export async function startRouter(options: RouterOptions): Promise<Router> {
  const { config, logger, telemetry, random = Math.random } = options;
  const store = guardMetadata({ store: options.store ?? connectMetadata(config.common.etcdEndpoints, telemetry.metrics), logger, metrics: telemetry.metrics });
  const stopping = new AbortController();
  const metrics = new RouterMetrics(telemetry.metrics);
  const events = new RouterEvents(logger, telemetry.metrics);
  const nowMs = (): number => performance.now();
  let view: ClusterView | undefined;
  let routing: Routing | undefined;
  metrics.observeTable(() => view?.revision ?? 0);

  const readiness = (): Readiness => {
    if (view === undefined) return { ready: false, reasons: ['waiting for etcd: the routing table has not been read'] };
    // Requests go on by the table last seen (R12, R13), so the router stays ready.
    return { ready: true, reasons: view.connected ? [] : [`${store.isRegressed ? `etcd went back (${store.reasons.join('; ')})` : 'etcd is away'}: requests go by the table last seen`] };
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
      http = await startHttpEndpoint({ listen: config.common.httpListen, metrics: telemetry.handleMetricsRequest, settings: config.common.shownSettings, readiness });
    }
    address = await grpc.listen(config.common.listen);
  } catch (error) {
    await http?.close();
    await store.close();
    throw error;
  }

  const open = async (): Promise<void> => {
    const opened = await openCluster({ store, logger, metrics: telemetry.metrics, clusterId: config.common.clusterId, signal: stopping.signal });
    if (opened === undefined) return;
    const table = new RoutingTable(opened, config.zone);
    const { operationsMax, bytesMax, resultBytesMax, link, retryBudget } = config;
    const dispatcher = new Dispatcher({ table, operationsMax, bytesMax, resultBytesMax, link, retryBudget, tracing: telemetry.tracing, metrics, events, nowMs, random });
    opened.subscribe((changes) => dispatcher.onChanges(changes));
    const watches = new RouterWatches({ metrics: telemetry.metrics, max: config.watchesMax });
    const copies = new RouterCopies({ clusterId: opened.clusterId, isOffered: config.offersCopies, offersCutOvers: config.offersCutOvers, coordinator: () => opened.coordinator()?.address, streamsMax: config.copyStreamsMax, metrics: telemetry.metrics });
    routing = { table, dispatcher, opIds: new OpIds(randomBytes(16)), watches, copies, onTable: (listener) => opened.subscribe(listener), heldResults: { bytes: 0, bytesMax: resultBytesMax } };
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
      routing?.copies.close();
      routing?.dispatcher.close();
      await view?.close();
      await http?.close();
      await store.close();
    },
  };
}

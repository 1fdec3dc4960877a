import { DURATION_BOUNDS_MS, type Counter, type Family, type Histogram, type Metrics, type Reading } from '@atoll/platform-telemetry';
import type { NodeLink } from './adapters/node-link.ts';
import { FIELDS } from './domain/operation-fields.ts';

/** Where gauges are read. */
export interface RouterGauges {
  readonly links: () => Iterable<NodeLink>;
  readonly underWay: () => number;
  readonly waiting: () => number;
}

/** Metrics of the router; the names are stable. */
export class RouterMetrics {
  readonly #metrics: Metrics;
  readonly #operations: Family<Counter>;
  readonly #repeats: Family<Counter>;
  readonly #ok: (Counter | undefined)[] = [];
  readonly #durations: (Histogram | undefined)[] = [];
  readonly batchOperations: Histogram;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
    this.#operations = metrics.counterFamily('atoll_router_operations_total', ['operation', 'reason'], {
      description: 'Finished operations, unary and batched, by reason; OK when they succeeded.',
    });
    const durations = metrics.histogramFamily('atoll_router_operation_duration_seconds', ['operation'], {
      description: 'Time from the arrival of an operation to its answer, repeats included.',
      unit: 's',
      bounds: DURATION_BOUNDS_MS,
      scale: 0.001,
    });
    this.#repeats = metrics.counterFamily('atoll_router_repeats_total', ['cause'], {
      description: 'Operations that were repeated, by what failed before.',
    });
    this.batchOperations = metrics.histogram('atoll_router_batch_operations', {
      description: 'Operations that left for a storage node in one message.',
      unit: '1',
      bounds: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 10_000],
    });
    for (const [kind, { name }] of Object.entries(FIELDS)) {
      this.#ok[Number(kind)] = this.#operations.with(name, 'OK');
      this.#durations[Number(kind)] = durations.with(name);
    }
  }

  finished(kind: number, reason: string, durationMs: number): void {
    if (reason === 'OK') this.#ok[kind]?.add();
    else this.#operations.with(FIELDS[kind]?.name ?? 'unknown', reason).add();
    this.#durations[kind]?.record(durationMs);
  }

  repeated(cause: string): void {
    this.#repeats.with(cause).add();
  }

  /** Registers the gauges, once. */
  observe(gauges: RouterGauges): void {
    const perLink = (read: (link: NodeLink) => number) => (): Reading[] =>
      Array.from(gauges.links(), (link) => ({ labels: { node: link.address }, value: read(link) }));
    this.#metrics.gaugeFamily('atoll_router_in_flight_operations', { description: 'Operations at a storage node without an answer yet.' }, perLink((link) => link.inFlightCount));
    this.#metrics.gaugeFamily('atoll_router_queued_operations', { description: 'Operations that wait for their turn at a storage node.' }, perLink((link) => link.queuedCount));
    this.#metrics.gauge('atoll_router_operations', { description: 'Operations under way.' }, gauges.underWay);
    this.#metrics.gauge('atoll_router_waiting_operations', { description: 'Operations that wait for a leader or for their next try.' }, gauges.waiting);
  }

  /** Registers the revision of the routing table. */
  observeTable(revision: () => number): void {
    this.#metrics.gauge('atoll_router_routing_table_revision', { description: 'etcd revision up to which the routing table is known.' }, revision);
  }
}

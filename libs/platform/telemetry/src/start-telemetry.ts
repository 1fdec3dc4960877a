import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Meter } from '@opentelemetry/api';
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { resourceFromAttributes } from '@opentelemetry/resources';
import type { SpanProcessor } from '@opentelemetry/sdk-trace-base';
import { startExportingSdk } from './exporting-sdk.ts';
import { Metrics } from './metrics.ts';
import { addProcessMetrics } from './process-metrics.ts';
import { startLocalSdk } from './sdk.ts';
import { Tracing } from './tracing.ts';

export interface TelemetryOptions {
  /** `router`, `storage-node`: becomes service.name `atoll-<service>`. */
  readonly service: string;
  /** Becomes service.instance.id. */
  readonly instanceId: string;
  readonly version: string;
  /** OTLP/gRPC collector, `http://host:4317`; without it spans are made (their ids stand in logs) but not exported. */
  readonly otlpEndpoint?: string | undefined;
  /** Share of requests without a traceparent that start a trace, 0 to 1. */
  readonly traceRatio: number;
  /** Most traces that such requests start in a second. Default: no bound. */
  readonly tracesPerSecond?: number;
  /** False: nothing is counted and requests for the metrics are answered 404. Default true. */
  readonly hasMetrics?: boolean;
  /** For tests: where spans go; `otlpEndpoint` is not used then. */
  readonly spanProcessors?: readonly SpanProcessor[];
  /** Uniform in [0, 1); decides what is sampled. Default Math.random. */
  readonly random?: () => number;
  /** Monotonic, in ms. Default performance.now. */
  readonly nowMs?: () => number;
}

/** The telemetry of one process, handed to whoever measures something. */
export interface Telemetry {
  readonly tracing: Tracing;
  readonly metrics: Metrics;
  /** An OpenTelemetry meter, for instruments off the hot path that `metrics` does not have. */
  createMeter(name: string): Meter;
  /** Answers a request with all metrics in Prometheus text. */
  readonly handleMetricsRequest: (request: IncomingMessage, response: ServerResponse) => void;
  /** Exports what is left, at most about 5 s; afterwards spans are dropped. */
  shutdown(): Promise<void>;
}

/**
 * Starts tracing and metrics: with OpenTelemetry's Node SDK where spans are exported, else with the two providers
 * alone, which start sooner. Nothing is patched: docs/adr/0003-telemetry-by-hand.md.
 */
export async function startTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const { service, instanceId, version, otlpEndpoint, spanProcessors, traceRatio, tracesPerSecond = Infinity, hasMetrics = true, random = Math.random, nowMs = performance.now.bind(performance) } = options;
  const resource = resourceFromAttributes({
    'service.name': `atoll-${service}`,
    'service.namespace': 'atoll',
    'service.instance.id': instanceId,
    'service.version': version,
  });
  const metrics = new Metrics({ isOn: hasMetrics });
  const metricReader = new PrometheusExporter({ preventServerStart: true, withoutScopeInfo: true, metricProducers: [metrics] });
  const exporting = otlpEndpoint === undefined || spanProcessors !== undefined ? undefined : await startExportingSdk({ resource, metricReader, endpoint: otlpEndpoint });
  const sdk = exporting ?? startLocalSdk({ resource, metricReader, spanProcessors: spanProcessors ?? [] });
  const stopProcessMetrics = hasMetrics ? addProcessMetrics(metrics, options) : () => undefined;
  return {
    tracing: new Tracing({ tracer: sdk.getTracer('atoll', version), ratio: traceRatio, perSecond: tracesPerSecond, random, nowMs }),
    metrics,
    createMeter: (name) => sdk.getMeter(name, version),
    handleMetricsRequest: hasMetrics ? (request, response) => metricReader.getMetricsRequestHandler(request, response) : answerOff,
    shutdown: async () => {
      stopProcessMetrics();
      // A collector that is away loses the last spans; that is no reason for a stop to fail.
      await sdk.shutdown().catch(() => undefined);
    },
  };
}

function answerOff(_request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('metrics are off here (ATOLL_METRICS)\n');
}

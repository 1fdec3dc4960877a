import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Meter } from '@opentelemetry/api';
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import { AlwaysOnSampler, BasicTracerProvider, BatchSpanProcessor, type SpanProcessor } from '@opentelemetry/sdk-trace-base';
import { Metrics } from './metrics.ts';
import { addProcessMetrics } from './process-metrics.ts';
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
  /** For tests: where spans go instead. */
  readonly spanProcessors?: readonly SpanProcessor[];
  /** Uniform in [0, 1); decides what is sampled. Default Math.random. */
  readonly random?: () => number;
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

/** Starts tracing and metrics. Nothing is patched and nothing global is set: docs/adr/0003-telemetry-by-hand.md. */
export async function startTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const resource = resourceFromAttributes({
    'service.name': `atoll-${options.service}`,
    'service.namespace': 'atoll',
    'service.instance.id': options.instanceId,
    'service.version': options.version,
  });
  const spanProcessors = options.spanProcessors ?? (await createExportProcessors(options.otlpEndpoint));
  const tracers = new BasicTracerProvider({ resource, sampler: new AlwaysOnSampler(), spanProcessors: [...spanProcessors] });
  const metrics = new Metrics();
  const stopProcessMetrics = addProcessMetrics(metrics, options);
  const exporter = new PrometheusExporter({ preventServerStart: true, withoutScopeInfo: true, metricProducers: [metrics] });
  const meters = new MeterProvider({ resource, readers: [exporter] });
  return {
    tracing: new Tracing({ tracer: tracers.getTracer('atoll', options.version), ratio: options.traceRatio, random: options.random ?? Math.random }),
    metrics,
    createMeter: (name) => meters.getMeter(name, options.version),
    handleMetricsRequest: (request, response) => exporter.getMetricsRequestHandler(request, response),
    shutdown: async () => {
      stopProcessMetrics();
      await Promise.allSettled([tracers.shutdown(), meters.shutdown()]);
    },
  };
}

/** The exporter is loaded only where it is used: it costs every other process tens of milliseconds at start. */
async function createExportProcessors(endpoint: string | undefined): Promise<SpanProcessor[]> {
  if (endpoint === undefined) return [];
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-grpc');
  const exporter = new OTLPTraceExporter({ url: endpoint, timeoutMillis: 5000 });
  // A full queue drops spans, never requests (I10).
  return [new BatchSpanProcessor(exporter, { maxQueueSize: 4096, maxExportBatchSize: 512, scheduledDelayMillis: 1000, exportTimeoutMillis: 5000 })];
}

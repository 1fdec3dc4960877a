import { ProxyTracerProvider, context, metrics, trace, type Tracer } from '@opentelemetry/api';
import type { Resource } from '@opentelemetry/resources';
import type { IMetricReader } from '@opentelemetry/sdk-metrics';
import { AlwaysOnSampler, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import type { Sdk } from './sdk.ts';

/** A collector that does not answer holds an export, and so the end of the process, for at most this long. */
const EXPORT_TIMEOUT_MS = 5000;

export interface ExportingSdkOptions {
  readonly resource: Resource;
  readonly metricReader: IMetricReader;
  /** OTLP/gRPC collector, `http://host:4317`. */
  readonly endpoint: string;
}

/**
 * OpenTelemetry's Node SDK with spans going to a collector over OTLP/gRPC. Undefined where the operator switched it
 * off (OTEL_SDK_DISABLED). The SDK registers itself as the process's own, so there is one at a time; `shutdown` takes
 * it off again. Its modules are loaded here and not before: docs/adr/0003-telemetry-by-hand.md has what they cost.
 */
export async function startExportingSdk({ resource, metricReader, endpoint }: ExportingSdkOptions): Promise<Sdk | undefined> {
  const [{ NodeSDK }, { OTLPTraceExporter }] = await Promise.all([import('@opentelemetry/sdk-node'), import('@opentelemetry/exporter-trace-otlp-grpc')]);
  if (isTracerRegistered()) throw new Error('another OpenTelemetry SDK is registered in this process');
  const exporter = new OTLPTraceExporter({ url: endpoint, timeoutMillis: EXPORT_TIMEOUT_MS });
  const sdk = new NodeSDK({
    resource,
    autoDetectResources: false,
    // Tracing decides before it asks for a span.
    sampler: new AlwaysOnSampler(),
    // A full queue drops spans, never requests (I10).
    spanProcessors: [new BatchSpanProcessor(exporter, { maxQueueSize: 4096, maxExportBatchSize: 512, scheduledDelayMillis: 1000, exportTimeoutMillis: EXPORT_TIMEOUT_MS })],
    metricReaders: [metricReader],
    // Empty and null, because what is left out is set up from OTEL_* variables: an exporter for logs, a propagator.
    logRecordProcessors: [],
    textMapPropagator: null,
    instrumentations: [],
  });
  sdk.start();
  if (!isTracerRegistered()) return undefined;
  return {
    getTracer: (name, version) => trace.getTracer(name, version),
    getMeter: (name, version) => metrics.getMeter(name, version),
    shutdown: async () => {
      await sdk.shutdown().finally(unregister);
    },
  };
}

function isTracerRegistered(): boolean {
  const provider = trace.getTracerProvider();
  const tracer: Tracer | undefined = provider instanceof ProxyTracerProvider ? provider.getDelegateTracer('atoll') : provider.getTracer('atoll');
  return tracer !== undefined;
}

function unregister(): void {
  trace.disable();
  metrics.disable();
  context.disable();
}

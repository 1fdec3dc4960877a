import type { Meter, Tracer } from '@opentelemetry/api';
import type { Resource } from '@opentelemetry/resources';
import { MeterProvider, type IMetricReader } from '@opentelemetry/sdk-metrics';
import { AlwaysOnSampler, BasicTracerProvider, type SpanProcessor } from '@opentelemetry/sdk-trace-base';

/** What is behind `Tracing` and `Metrics`. */
export interface Sdk {
  getTracer(name: string, version: string): Tracer;
  getMeter(name: string, version: string): Meter;
  /** Hands over what is left; rejects when that fails. */
  shutdown(): Promise<void>;
}

export interface LocalSdkOptions {
  readonly resource: Resource;
  readonly metricReader: IMetricReader;
  readonly spanProcessors: readonly SpanProcessor[];
}

/** Spans and metrics of a process that exports no spans. Nothing global is set. */
export function startLocalSdk({ resource, metricReader, spanProcessors }: LocalSdkOptions): Sdk {
  const tracers = new BasicTracerProvider({ resource, sampler: new AlwaysOnSampler(), spanProcessors: [...spanProcessors] });
  const meters = new MeterProvider({ resource, readers: [metricReader] });
  return {
    getTracer: (name, version) => tracers.getTracer(name, version),
    getMeter: (name, version) => meters.getMeter(name, version),
    shutdown: async () => {
      await Promise.all([tracers.shutdown(), meters.shutdown()]);
    },
  };
}

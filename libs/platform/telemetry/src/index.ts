export { activeSpan, runWithSpan, traceparentOf } from './active-span.ts';
export { startHttpEndpoint } from './http-endpoint.ts';
export type { HttpEndpoint, HttpEndpointOptions, Readiness } from './http-endpoint.ts';
export { BYTES_BOUNDS, Counter, DURATION_BOUNDS_MS, Family, Histogram, SERIES_MAX } from './instruments.ts';
export { createLogger } from './logger.ts';
export type { LoggerOptions } from './logger.ts';
export { Metrics } from './metrics.ts';
export type { HistogramOptions, InstrumentOptions, Reading } from './metrics.ts';
export { startTelemetry } from './start-telemetry.ts';
export type { Telemetry, TelemetryOptions } from './start-telemetry.ts';
export { formatTraceparent, parseTraceparent } from './traceparent.ts';
export { Tracing, failSpan } from './tracing.ts';
export type { SpanParent, SpanSettings, TracingOptions } from './tracing.ts';
// Types of the libraries behind, so that apps need not name them.
export type { Attributes, Span } from '@opentelemetry/api';
export type { Logger } from 'pino';

import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, trace, type Attributes, type Context, type Span, type SpanContext, type Tracer } from '@opentelemetry/api';
import { activeSpan, runWithSpan } from './active-span.ts';
import { parseTraceparent } from './traceparent.ts';

/** Where a span hangs: a span of this process, a `traceparent` that came with a request, or a parsed one. */
export type SpanParent = Span | SpanContext | string;

export interface SpanSettings {
  readonly kind?: SpanKind;
  readonly attributes?: Attributes;
  /** Default: the active span; without one a new trace begins. */
  readonly parent?: SpanParent | undefined;
  /** Milliseconds since the epoch; default now. */
  readonly startTime?: number;
}

export interface TracingOptions {
  readonly tracer: Tracer;
  /** Share of requests without a `traceparent` that start a trace, 0 to 1. */
  readonly ratio: number;
  /** Most traces that they start in a second; Infinity: no bound. */
  readonly perSecond: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Monotonic, in ms. */
  readonly nowMs: () => number;
}

/**
 * Spans made by hand. The decision to sample is made here, before anything is allocated; the SDK behind
 * records every span that it is asked for. A caller's decision always holds: a sampled `traceparent` is
 * sampled, an unsampled one is not.
 */
export class Tracing {
  readonly #tracer: Tracer;
  readonly #ratio: number;
  readonly #random: () => number;
  readonly #bound: RateBound;

  constructor({ tracer, ratio, perSecond, random, nowMs }: TracingOptions) {
    this.#tracer = tracer;
    this.#ratio = ratio;
    this.#random = random;
    this.#bound = new RateBound(perSecond, nowMs);
  }

  /** Span of a request that arrived, or undefined when it is not sampled: the usual case, 10 to 20 ns. */
  startServerSpan(name: string, traceparent?: string): Span | undefined {
    if (traceparent === undefined) {
      return this.#random() < this.#ratio && this.#bound.take() ? this.#start(name, { kind: SpanKind.SERVER }, ROOT_CONTEXT) : undefined;
    }
    // Most are not sampled: "...-00" is settled without parsing.
    if (traceparent.length === 55 && traceparent.endsWith('-00')) return undefined;
    const parent = parseTraceparent(traceparent);
    return parent === undefined || (parent.traceFlags & TraceFlags.SAMPLED) === 0 ? undefined : this.#start(name, { kind: SpanKind.SERVER }, contextOf(parent));
  }

  /** Span of a request to another process: only under a sampled parent (default: the active span). */
  startClientSpan(name: string, parent: SpanParent | undefined = activeSpan()): Span | undefined {
    return parent === undefined ? undefined : this.startSpan(name, { kind: SpanKind.CLIENT, parent });
  }

  /** A span wherever the parent is sampled or there is none; undefined under an unsampled parent. */
  startSpan(name: string, settings: SpanSettings = {}): Span | undefined {
    const parent = settings.parent ?? activeSpan();
    if (parent === undefined) return this.#start(name, settings, ROOT_CONTEXT);
    const found = spanContextOf(parent);
    if (found === undefined) return this.#start(name, settings, ROOT_CONTEXT);
    return (found.traceFlags & TraceFlags.SAMPLED) === 0 ? undefined : this.#start(name, settings, contextOf(found));
  }

  /**
   * Traces one run of a job or loop: always, unless the parent says otherwise. The span is active during
   * `fn`, gets the error that `fn` throws, and ends when `fn` does.
   */
  async withSpan<T>(name: string, attributes: Attributes, fn: (span: Span | undefined) => Promise<T> | T, settings: SpanSettings = {}): Promise<T> {
    const span = this.startSpan(name, { ...settings, attributes });
    if (span === undefined) return fn(undefined);
    try {
      return await runWithSpan(span, () => fn(span));
    } catch (error) {
      failSpan(span, error);
      throw error;
    } finally {
      span.end();
    }
  }

  #start(name: string, { kind, attributes, startTime }: SpanSettings, context: Context): Span {
    return this.#tracer.startSpan(
      name,
      { kind: kind ?? SpanKind.INTERNAL, ...(attributes && { attributes }), ...(startTime !== undefined && { startTime }) },
      context,
    );
  }
}

/** A second's worth at once, and no more than `perSecond` in the long run (token bucket). */
class RateBound {
  readonly #perSecond: number;
  readonly #nowMs: () => number;
  #left: number;
  #countedMs: number;

  constructor(perSecond: number, nowMs: () => number) {
    this.#perSecond = perSecond;
    this.#nowMs = nowMs;
    this.#left = perSecond;
    this.#countedMs = nowMs();
  }

  take(): boolean {
    if (this.#perSecond === Infinity) return true;
    const nowMs = this.#nowMs();
    this.#left = Math.min(this.#perSecond, this.#left + ((nowMs - this.#countedMs) / 1000) * this.#perSecond);
    this.#countedMs = nowMs;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}

/** Marks a span as failed. Messages of Atoll's errors hold no keys or values of users, so they may stand here. */
export function failSpan(span: Span, error: unknown): void {
  span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.message : String(error) });
  if (error instanceof Error) span.setAttribute('error.type', 'reason' in error ? String(error.reason) : error.name);
}

function spanContextOf(parent: SpanParent): SpanContext | undefined {
  if (typeof parent === 'string') return parseTraceparent(parent);
  return 'spanContext' in parent ? parent.spanContext() : parent;
}

const contextOf = (parent: SpanContext): Context => trace.setSpanContext(ROOT_CONTEXT, parent);

import { AsyncLocalStorage } from 'node:async_hooks';
import type { Span } from '@opentelemetry/api';
import { formatTraceparent } from './traceparent.ts';

// Only sampled work enters this storage, so the unsampled 999 of 1000 requests pay nothing for it.
const active = new AsyncLocalStorage<Span>();

/** The sampled span that the current asynchronous work belongs to. */
export function activeSpan(): Span | undefined {
  return active.getStore();
}

/** Runs `fn` so that `activeSpan()`, and with it the trace ids in log lines, is `span`. Without a span it just runs `fn`. */
export function runWithSpan<T>(span: Span | undefined, fn: () => T): T {
  return span === undefined ? fn() : active.run(span, fn);
}

/** What to send to another process so that its spans become children of `span`; undefined when nothing is sampled. */
export function traceparentOf(span: Span | undefined = activeSpan()): string | undefined {
  return span === undefined ? undefined : formatTraceparent(span.spanContext());
}

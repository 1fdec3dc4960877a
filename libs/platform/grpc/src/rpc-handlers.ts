import type { MethodDefinition, ServerDuplexStream, ServerWritableStream, handleBidiStreamingCall, handleServerStreamingCall, handleUnaryCall } from '@grpc/grpc-js';
import { AtollError, isAtollError } from '@atoll/core-errors';
import { failSpan, runWithSpan, type Logger, type Span, type Telemetry } from '@atoll/platform-telemetry';
import { CallContext, type ServerCall } from './call-context.ts';
import { RpcMetrics, type RpcInstruments } from './rpc-metrics.ts';
import { toServiceError } from './service-error.ts';

// grpc-js does not await handlers: a rejected promise of an async handler would end the process. These
// wrappers await them, turn failures into statuses, and measure.

/** What the wrappers need of a generated method definition. */
export type Method<Request, Response> = Pick<MethodDefinition<Request, Response>, 'path' | 'requestDeserialize' | 'responseSerialize'>;

export type UnaryHandler<Request, Response> = (request: Request, context: CallContext) => Promise<Response> | Response;
/** Writes with `writeWithBackpressure` or a `BoundedWriter`; when its promise settles the stream ends. */
export type ServerStreamHandler<Request, Response> = (call: ServerWritableStream<Request, Response>, context: CallContext) => Promise<void>;
/** Reads with 'data' events or `for await`; when its promise settles the stream ends. */
export type BidiStreamHandler<Request, Response> = (call: ServerDuplexStream<Request, Response>, context: CallContext) => Promise<void>;

export interface RpcHandlersOptions {
  readonly telemetry: Pick<Telemetry, 'tracing' | 'metrics'>;
  readonly logger: Logger;
}

/** Makes grpc-js handlers out of ours; one per server. */
export class RpcHandlers {
  readonly #telemetry: Pick<Telemetry, 'tracing' | 'metrics'>;
  readonly #logger: Logger;
  readonly #metrics: RpcMetrics;
  readonly #streams = new Set<CallContext>();
  #isClosing = false;

  constructor({ telemetry, logger }: RpcHandlersOptions) {
    this.#telemetry = telemetry;
    this.#logger = logger;
    this.#metrics = new RpcMetrics(telemetry.metrics);
  }

  unary<Request, Response>(method: Method<Request, Response>, handler: UnaryHandler<Request, Response>): handleUnaryCall<Request, Response> {
    const spanName = method.path.slice(1);
    const instruments = this.#metrics.forRpc(rpcLabel(method));
    return (call, callback) => {
      const startMs = performance.now();
      const span = this.#startSpan(spanName, call);
      const context = new CallContext(call, span);
      const succeed = (response: Response): void => {
        callback(null, response);
        instruments.durations.record(performance.now() - startMs);
        instruments.finished(call.cancelled ? 'CANCELLED' : 'OK');
        span?.end();
      };
      const fail = (error: unknown): void => {
        callback(toServiceError(error));
        instruments.durations.record(performance.now() - startMs);
        this.#failed(instruments, spanName, span, error);
      };
      try {
        const answer = span === undefined ? handler(call.request, context) : runWithSpan(span, () => handler(call.request, context));
        if (answer instanceof Promise) answer.then(succeed, fail);
        else succeed(answer);
      } catch (error) {
        fail(error);
      }
    };
  }

  serverStream<Request, Response>(method: Method<Request, Response>, handler: ServerStreamHandler<Request, Response>): handleServerStreamingCall<Request, Response> {
    const run = this.#stream(method, handler);
    return (call) => void run(call);
  }

  bidiStream<Request, Response>(method: Method<Request, Response>, handler: BidiStreamHandler<Request, Response>): handleBidiStreamingCall<Request, Response> {
    const run = this.#stream(method, handler);
    return (call) => void run(call);
  }

  /** Aborts the signals of all open streams, and of those that come, with SHUTTING_DOWN; unary calls go on. */
  closeStreams(): void {
    this.#isClosing = true;
    for (const context of this.#streams) context.abort(shuttingDown());
  }

  #stream<Call extends StreamCall>(method: { readonly path: string }, handler: (call: Call, context: CallContext) => Promise<void>): (call: Call) => Promise<void> {
    const spanName = method.path.slice(1);
    const rpc = rpcLabel(method);
    const instruments = this.#metrics.forRpc(rpc);
    return async (call) => {
      const span = this.#startSpan(spanName, call);
      const context = new CallContext(call, span);
      const { signal } = context; // listens for the client's going away from the first moment on
      this.#streams.add(context);
      this.#metrics.streamOpened(rpc);
      if (this.#isClosing) context.abort(shuttingDown());
      try {
        signal.throwIfAborted();
        await runWithSpan(span, () => handler(call, context));
        signal.throwIfAborted();
        call.end();
        instruments.finished('OK');
        span?.end();
      } catch (error) {
        if (!call.cancelled) call.emit('error', toServiceError(error));
        this.#failed(instruments, spanName, span, error);
      } finally {
        this.#streams.delete(context);
        this.#metrics.streamClosed(rpc);
      }
    };
  }

  #startSpan(name: string, call: ServerCall): Span | undefined {
    const [traceparent] = call.metadata.get('traceparent');
    return this.#telemetry.tracing.startServerSpan(name, typeof traceparent === 'string' ? traceparent : undefined);
  }

  #failed(instruments: RpcInstruments, rpc: string, span: Span | undefined, error: unknown): void {
    instruments.finished(isAtollError(error) ? error.reason : 'INTERNAL');
    if (!isAtollError(error)) this.#logger.error({ err: error, rpc }, 'a handler failed in an unexpected way');
    if (span === undefined) return;
    failSpan(span, error);
    span.end();
  }
}

type StreamCall = ServerCall & { end(): unknown; emit(event: 'error', error: Error): boolean };

const shuttingDown = (): AtollError => new AtollError('SHUTTING_DOWN', 'this process is shutting down');

/** `Cache/Get` of `/atoll.v1.Cache/Get`. */
function rpcLabel({ path }: { readonly path: string }): string {
  return path.slice(path.lastIndexOf('.') + 1);
}

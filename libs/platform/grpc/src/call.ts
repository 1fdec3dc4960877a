import { Metadata, type CallOptions, type ClientReadableStream, type ClientUnaryCall, type ServiceError } from '@grpc/grpc-js';
import { AtollError } from '@atoll/core-errors';
import { fromServiceError } from './service-error.ts';

export interface CallSettings {
  /** What is left of the incoming deadline. 0 or less fails with DEADLINE_EXCEEDED and sends nothing. */
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly traceparent?: string | undefined;
  /** The request may change data: a failure of unknown outcome becomes WRITE_IN_DOUBT. Default false. */
  readonly mayWrite?: boolean;
}

export interface StreamSettings {
  /** Default: none; a long stream is watched by keepalive. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly traceparent?: string | undefined;
}

type UnaryCall<Request, Response> = (request: Request, metadata: Metadata, options: Partial<CallOptions>, callback: (error: ServiceError | null, response: Response) => void) => ClientUnaryCall;
type ServerStreamCall<Request, Response> = (request: Request, metadata: Metadata, options: Partial<CallOptions>) => ClientReadableStream<Response>;

// eslint-disable-next-line typescript/no-explicit-any -- any method of any generated client
type UnaryNames<Client> = { [Name in keyof Client]: Client[Name] extends UnaryCall<any, any> ? Name : never }[keyof Client];
// eslint-disable-next-line typescript/no-explicit-any -- any method of any generated client
type StreamNames<Client> = { [Name in keyof Client]: Client[Name] extends ServerStreamCall<any, any> ? Name : never }[keyof Client];

/**
 * One unary call of a generated client: `callUnary(cache, 'get', request, { deadlineMs })`. Rejects with an
 * AtollError always. The abort listener goes with the call.
 */
export function callUnary<Client, Name extends UnaryNames<Client>>(
  client: Client,
  name: Name,
  request: Client[Name] extends UnaryCall<infer Request, infer _> ? Request : never,
  settings: CallSettings,
): Promise<Client[Name] extends UnaryCall<infer _, infer Response> ? Response : never> {
  const { deadlineMs, signal, traceparent } = settings;
  return new Promise((resolve, reject) => {
    // Nothing is sent in these two cases, so they are plain failures of a write too (R20).
    if (signal?.aborted === true) return reject(cancelled(signal));
    if (!(deadlineMs > 0)) return reject(new AtollError('DEADLINE_EXCEEDED', 'the deadline passed before the call was sent'));
    const method = client[name] as UnaryCall<unknown, never>;
    const onAbort = (): void => call.cancel();
    const call = method.call(client, request, metadataOf(traceparent), { deadline: Date.now() + deadlineMs }, (error, response) => {
      signal?.removeEventListener('abort', onAbort);
      if (error === null) resolve(response);
      else reject(fromServiceError(error, settings));
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * The messages of a server stream: `for await (const part of callServerStream(client, 'scan', request, {}))`.
 * Reads no faster than it is read from; leaving the loop early cancels the call. Throws AtollErrors.
 */
export async function* callServerStream<Client, Name extends StreamNames<Client>>(
  client: Client,
  name: Name,
  request: Client[Name] extends ServerStreamCall<infer Request, infer _> ? Request : never,
  { deadlineMs, signal, traceparent }: StreamSettings,
): AsyncGenerator<Client[Name] extends ServerStreamCall<infer _, infer Response> ? Response : never, void, undefined> {
  if (signal?.aborted === true) throw cancelled(signal);
  const method = client[name] as ServerStreamCall<unknown, never>;
  const call = method.call(client, request, metadataOf(traceparent), deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs });
  const onAbort = (): void => call.cancel();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    yield* call as AsyncIterable<never>;
  } catch (error) {
    throw fromServiceError(error);
  } finally {
    signal?.removeEventListener('abort', onAbort);
    // A call that is left open keeps its connection, and at last the process, alive.
    call.on('error', () => undefined);
    call.cancel();
  }
}

/** Metadata of an outgoing call. */
export function metadataOf(traceparent: string | undefined): Metadata {
  const metadata = new Metadata();
  if (traceparent !== undefined) metadata.set('traceparent', traceparent);
  return metadata;
}

function cancelled(signal: AbortSignal): AtollError {
  return new AtollError('CANCELLED', 'the call was cancelled before it was sent', { cause: signal.reason });
}

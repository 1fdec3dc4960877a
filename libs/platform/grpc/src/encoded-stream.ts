import type { Client, MethodDefinition } from '@grpc/grpc-js';
import { metadataOf } from './call.ts';
import { fromServiceError } from './service-error.ts';

export interface EncodedStreamSettings {
  readonly signal: AbortSignal;
  readonly traceparent?: string | undefined;
}

/**
 * The messages of a server stream as they are on the wire, for somebody who passes them on. The next one is asked for when it is
 * wanted: `callServerStream` has up to 16 of them read ahead, which is a lot of memory where one may hold a value of 64 MiB.
 * Leaving the loop early cancels the call. Throws AtollErrors.
 */
export async function* readEncodedStream<Request>(
  client: Client,
  { path, requestSerialize }: Pick<MethodDefinition<Request, unknown>, 'path' | 'requestSerialize'>,
  request: Request,
  { signal, traceparent }: EncodedStreamSettings,
): AsyncGenerator<Buffer, void, undefined> {
  const call = client.makeServerStreamRequest(path, requestSerialize, (bytes: Buffer) => bytes, request, metadataOf(traceparent), {});
  // Node's streams read ahead by themselves; here the loop below asks.
  Object.assign(call, { _read: () => undefined });
  const arrived: Buffer[] = [];
  const end = { failure: undefined as unknown, isOver: false };
  let wake = (): void => undefined;
  call.on('data', (message: Buffer) => {
    arrived.push(message);
    wake();
  });
  call.on('error', (error) => {
    end.failure ??= error;
    wake();
  });
  call.on('end', () => {
    end.isOver = true;
    wake();
  });
  const onAbort = (): void => call.cancel();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    signal.throwIfAborted();
    for (;;) {
      call.call?.startRead();
      while (arrived.length === 0 && end.failure === undefined && !end.isOver) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const message = arrived.shift();
      if (message !== undefined) yield message;
      else if (end.failure !== undefined) throw fromServiceError(end.failure);
      else return;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    call.cancel();
  }
}

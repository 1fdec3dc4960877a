import type { ServerDuplexStream } from '@grpc/grpc-js';
import { isAtollError } from '@atoll/core-errors';
import type { CallContext } from '@atoll/platform-grpc';
import { ExecuteStream } from './execute-stream.ts';
import type { HandlerDeps } from './router-context.ts';

/**
 * The fast path: batches of operations both ways. When this process stops, every operation that was read is
 * answered before the stream ends with SHUTTING_DOWN; so what a client has no answer to then never left the
 * router, and may be repeated.
 */
export function handleExecute(call: ServerDuplexStream<Buffer, Buffer>, context: CallContext, deps: HandlerDeps, windowOperations: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const { signal } = context;
    let hasEnded = false;
    const onIdle = (): void => {
      if (signal.aborted) reject(signal.reason);
      else if (hasEnded) resolve();
    };
    const stream = new ExecuteStream({
      call,
      routing: deps.routing(),
      tracing: deps.tracing,
      nowMs: deps.nowMs,
      windowOperations,
      onBroken: (error) => {
        if (error.reason === 'OVERLOADED') deps.events.clientStalled(context.peer);
        reject(error);
      },
      onIdle,
    });
    const guard = (act: () => void): void => {
      try {
        act();
      } catch (error) {
        stream.abandon();
        reject(error);
      }
    };
    call.on('data', (message: Buffer) => guard(() => stream.onMessage(message)));
    call.on('drain', () => guard(() => stream.onDrain()));
    call.on('end', () => {
      hasEnded = true;
      if (stream.isIdle) onIdle();
    });
    signal.addEventListener(
      'abort',
      () => {
        const reason: unknown = signal.reason;
        if (isAtollError(reason) && reason.reason === 'SHUTTING_DOWN') {
          stream.close();
          if (stream.isIdle) onIdle();
          return;
        }
        stream.abandon();
        reject(reason);
      },
      { once: true },
    );
  });
}

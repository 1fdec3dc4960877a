import type { CallContext } from '@atoll/platform-grpc';
import { delimitedBytes, WireWriter } from '@atoll/platform-wire';
import { takeIn } from '../domain/intake.ts';
import type { RoutedOperation } from '../domain/routed-operation.ts';
import { DEADLINE_MS_DEFAULT, DEADLINE_MS_MAX } from '../limits.ts';
import type { HandlerDeps } from './router-context.ts';

/** The tag of `GetResponse.value`. */
const VALUE_TAG = 18;

/**
 * Get, Set, Delete, Increment and Touch: request and response stay bytes. Calls that arrive in one turn of the
 * event loop leave in one batch per node.
 */
export function createUnaryHandler(kind: number, deps: HandlerDeps): (body: Buffer, context: CallContext) => Promise<Buffer> {
  return (body, context) =>
    new Promise((resolve, reject) => {
      const { table, dispatcher, opIds } = deps.routing();
      const nowMs = deps.nowMs();
      const onDone = (operation: RoutedOperation): void => {
        if (operation.error === undefined) resolve(wholeResponse(operation));
        else reject(operation.error);
      };
      dispatcher.submit(
        takeIn(
          { kind, body, valueBytes: 0, startedAtMs: nowMs, deadlineAtMs: nowMs + answerWithinMs(context), span: context.span, onDone },
          table,
          opIds,
        ),
      );
    });
}

/**
 * Time to answer in: a little less than the caller waits, so that it hears what is known (WRITE_IN_DOUBT, say)
 * before its own deadline cuts the call off.
 */
export function answerWithinMs(context: CallContext): number {
  const remainingMs = Math.min(DEADLINE_MS_MAX, context.deadlineRemainingMs(DEADLINE_MS_DEFAULT));
  return remainingMs - Math.min(50, Math.max(15, remainingMs / 10), remainingMs / 2);
}

/** The response message with its value, when that came in parts, and the merged session. */
export function wholeResponse(operation: RoutedOperation): Buffer {
  const { resultBody, resultTail, resultParts, resultValueBytes } = operation;
  if (resultParts === undefined) return resultTail.length === 0 ? resultBody : Buffer.concat([resultBody, resultTail]);
  const writer = new WireWriter(resultBody.length + delimitedBytes(resultValueBytes) + resultTail.length);
  writer.raw(resultBody);
  writer.header(VALUE_TAG, resultValueBytes);
  for (const part of resultParts) writer.raw(part);
  writer.raw(resultTail);
  return writer.buffer;
}

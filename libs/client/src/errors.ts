import { AtollError, isAtollError, isErrorReason, type ErrorMetadata } from '@atoll/core-errors';

/**
 * A write whose fate is unknown: it may have happened, or may still happen. Repeating it blindly could apply it
 * twice; read the key, or use a condition.
 */
export class WriteInDoubt extends AtollError {
  constructor(message: string, options: { metadata?: ErrorMetadata; cause?: unknown } = {}) {
    super('WRITE_IN_DOUBT', message, options);
  }
}

/** A failure as the other side tells it. A reason of a newer release becomes INTERNAL and keeps its name in metadata.reason. */
export function toError(reason: string, message: string, metadata: ErrorMetadata): AtollError {
  if (reason === 'WRITE_IN_DOUBT') return new WriteInDoubt(message, { metadata });
  return isErrorReason(reason) ? new AtollError(reason, message, { metadata }) : new AtollError('INTERNAL', message, { metadata: { ...metadata, reason } });
}

/** What a write that may have been taken ends with when nothing is heard of it. */
export function inDoubt(cause: AtollError): WriteInDoubt {
  return new WriteInDoubt(`the write may or may not have happened: ${cause.message}`, { metadata: { cause: cause.reason }, cause });
}

export { AtollError, isAtollError };

import { status, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import { AtollError, isAtollError, isErrorReason, type ErrorReason } from '@atoll/core-errors';
import { decodeErrorDetails, encodeErrorDetails } from './error-details.ts';
import { STATUS_BY_REASON } from './status.ts';

/**
 * A failure as it goes on the wire: status, message and ErrorInfo of an AtollError; INTERNAL
 * "internal error" for everything else, whose text stays here (the caller logs it).
 */
export function toServiceError(error: unknown): Error & StatusObject {
  const known = isAtollError(error) ? error : new AtollError('INTERNAL', 'internal error');
  const code = STATUS_BY_REASON[known.reason];
  // grpc-js runs encodeURI over the text, which throws on half of a surrogate pair.
  const details = known.message.toWellFormed();
  return Object.assign(new Error(details), { code, details, metadata: encodeErrorDetails(code, details, known) });
}

export interface FromServiceErrorOptions {
  /**
   * The request might have changed data. A failure without a reason of ours then means WRITE_IN_DOUBT:
   * the connection broke, or the deadline passed, before or after the other side acted.
   */
  readonly mayWrite?: boolean;
}

/** Reason of a status without ErrorInfo: what gRPC itself, a proxy or a peer of another kind answers. */
const REASON_BY_STATUS: Readonly<Partial<Record<status, ErrorReason>>> = {
  [status.CANCELLED]: 'CANCELLED',
  [status.INVALID_ARGUMENT]: 'INVALID_ARGUMENT',
  [status.DEADLINE_EXCEEDED]: 'DEADLINE_EXCEEDED',
  [status.RESOURCE_EXHAUSTED]: 'OVERLOADED',
  [status.UNAVAILABLE]: 'PEER_UNAVAILABLE',
};

/** Statuses that gRPC gives only before a handler runs: the write certainly did not happen. */
const NEVER_HANDLED: ReadonlySet<status> = new Set([status.UNIMPLEMENTED, status.UNAUTHENTICATED, status.PERMISSION_DENIED]);

/** A failed call as an AtollError; the gRPC error stays behind as `cause`. */
export function fromServiceError(error: unknown, { mayWrite = false }: FromServiceErrorOptions = {}): AtollError {
  if (isAtollError(error)) return error;
  if (!isServiceError(error)) return new AtollError(mayWrite ? 'WRITE_IN_DOUBT' : 'INTERNAL', 'the call failed in an unexpected way', { cause: error });
  const facts = decodeErrorDetails(error.metadata);
  if (facts !== undefined && isErrorReason(facts.reason)) {
    return new AtollError(facts.reason, error.details, { metadata: facts.metadata, cause: error });
  }
  const metadata = { ...facts?.metadata, ...(facts && { reason: facts.reason }), status: status[error.code] ?? String(error.code) };
  if (mayWrite && !NEVER_HANDLED.has(error.code)) {
    return new AtollError('WRITE_IN_DOUBT', `the write may or may not have happened: ${error.details}`, { metadata, cause: error });
  }
  return new AtollError(REASON_BY_STATUS[error.code] ?? 'INTERNAL', error.details, { metadata, cause: error });
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error && typeof error.details === 'string';
}

import { AtollError } from '@atoll/core-errors';

/** etcd gave no answer in time, or answered that it has no quorum. */
export function metadataUnavailable(what: string, cause?: unknown): AtollError {
  const why = cause instanceof Error ? `: ${cause.message}` : '';
  return new AtollError('METADATA_UNAVAILABLE', `etcd: ${what}${why}`, { cause });
}

/** Somebody gave the signal to stop while the call waited. */
export function cancelled(what: string): AtollError {
  return new AtollError('CANCELLED', `${what}: cancelled`);
}

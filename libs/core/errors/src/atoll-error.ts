import type { ErrorReason } from './reasons.ts';

/** Facts about a failure for programs: the field at fault, the leader to ask instead. Values are short text. */
export type ErrorMetadata = Readonly<Record<string, string>>;

/** A failure that the caller is expected to handle. Anything else that is thrown is a bug. */
export class AtollError extends Error {
  override readonly name = 'AtollError';
  readonly reason: ErrorReason;
  readonly metadata: ErrorMetadata;

  constructor(reason: ErrorReason, message: string, options: { metadata?: ErrorMetadata; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.metadata = options.metadata ?? {};
  }
}

export function isAtollError(error: unknown): error is AtollError {
  return error instanceof AtollError;
}

/** Bad input: names the field, so that a caller can show it beside the right box. */
export function invalidArgument(field: string, problem: string): AtollError {
  return new AtollError('INVALID_ARGUMENT', `${field}: ${problem}`, { metadata: { field } });
}

export { AtollError, invalidArgument, isAtollError } from './atoll-error.ts';
export type { ErrorMetadata } from './atoll-error.ts';
export { ERROR_REASONS, isErrorReason } from './reasons.ts';
export type { ErrorReason } from './reasons.ts';

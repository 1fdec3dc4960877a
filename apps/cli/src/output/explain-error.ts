import { status } from '@grpc/grpc-js';
import { isAtollError, type AtollError } from '@atoll/core-errors';
import { StartupError } from '@atoll/platform-config';
import { STATUS_BY_REASON } from '@atoll/platform-grpc';
import { CliError, messageOf } from '../cli-error.ts';
import { EXIT_CODE, type ExitCode } from '../exit-code.ts';
import { printable } from './table.ts';

/** What a failure looks like to a user: one text, never a stack, and the exit code. */
export function explainError(error: unknown): { text: string; exitCode: ExitCode } {
  if (error instanceof CliError) return { text: error.message, exitCode: error.exitCode };
  if (error instanceof StartupError) return { text: error.message, exitCode: EXIT_CODE.usage };
  if (isAtollError(error)) return { text: atollErrorText(error), exitCode: exitCodeOf(error) };
  return { text: messageOf(error), exitCode: EXIT_CODE.failed };
}

/** `KEY_TOO_LARGE: the key has 5000 bytes (field: key)`. */
function atollErrorText({ reason, message, metadata }: AtollError): string {
  const facts = Object.entries(metadata).map(([name, value]) => `${name}: ${value}`);
  return printable(`${reason}: ${message}${facts.length > 0 ? ` (${facts.join(', ')})` : ''}`);
}

/** Bad input is the user's to change; what may pass by itself is "unavailable"; the rest has failed. */
function exitCodeOf({ reason }: AtollError): ExitCode {
  switch (STATUS_BY_REASON[reason]) {
    case status.INVALID_ARGUMENT:
      return EXIT_CODE.usage;
    case status.UNAVAILABLE:
    case status.DEADLINE_EXCEEDED:
    case status.RESOURCE_EXHAUSTED:
      return EXIT_CODE.unavailable;
    default:
      return EXIT_CODE.failed;
  }
}

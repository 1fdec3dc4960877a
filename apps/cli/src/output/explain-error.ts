import { status } from '@grpc/grpc-js';
import { isAtollError, type AtollError, type ErrorReason } from '@atoll/core-errors';
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

/** What to do about a failure, where its message cannot say: which commands help. */
const HINTS: Readonly<Partial<Record<ErrorReason, string>>> = {
  MIGRATION_NOT_FOUND: 'atoll migrate list shows the known ones',
  STANDBY_NOT_FOUND: 'atoll backup standby list shows the standbys of the cluster that is asked',
  MIGRATION_CONFLICT: 'atoll migrate list shows where migrations are; one that is in the way can be waited for or cancelled',
  CUT_OVER_REFUSED: 'atoll migrate show tells how far the copy is and whether it was compared; ask again when that is so',
  CAPACITY_SHORT: 'choose another node, move fewer partitions, or add a node or memory; --dry-run shows how much would move',
};

/** `KEY_TOO_LARGE: the key has 5000 bytes (field: key)`, with what to do behind a semicolon. */
function atollErrorText({ reason, message, metadata }: AtollError): string {
  const facts = Object.entries(metadata).map(([name, value]) => `${name}: ${value}`);
  const hint = HINTS[reason];
  return printable(`${reason}: ${message}${facts.length > 0 ? ` (${facts.join(', ')})` : ''}${hint === undefined ? '' : `; ${hint}`}`);
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

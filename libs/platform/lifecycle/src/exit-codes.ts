import { StartupError } from '@atoll/platform-config';
import { isAtollError } from '@atoll/core-errors';

/** Exit codes of every service; supervisors and the dev command rely on them. */
export const EXIT = {
  /** Stopped as asked. */
  OK: 0,
  /** Could not start or stop for a reason outside, or was forced by a second signal: trying again may help. */
  FAILED: 1,
  /** Settings, port, node id or cluster id are wrong: trying again cannot help before somebody changes them. */
  USAGE: 2,
  /** A bug (EX_SOFTWARE of sysexits.h). */
  BUG: 70,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** How a process that could not start ends, and whether the message alone tells the operator enough. */
export function classifyStartFailure(error: unknown): { readonly code: ExitCode; readonly isExpected: boolean } {
  if (error instanceof StartupError) return { code: EXIT.USAGE, isExpected: true };
  if (!isAtollError(error) || error.reason === 'INTERNAL') return { code: EXIT.BUG, isExpected: false };
  const isSetting = error.reason === 'INVALID_ARGUMENT' || error.reason === 'WRONG_CLUSTER';
  return { code: isSetting ? EXIT.USAGE : EXIT.FAILED, isExpected: true };
}

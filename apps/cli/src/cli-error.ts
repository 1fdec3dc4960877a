import { EXIT_CODE, type ExitCode } from './exit-code.ts';

/** A failure that is told to the user by its message alone, without a stack. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;

  constructor(message: string, options: { exitCode?: ExitCode; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exitCode = options.exitCode ?? EXIT_CODE.failed;
  }
}

/** Wrong usage or configuration (exit code 2). */
export function usageError(message: string): CliError {
  return new CliError(message, { exitCode: EXIT_CODE.usage });
}

/** The other side cannot be reached or cannot serve (exit code 3). */
export function unavailable(message: string, cause?: unknown): CliError {
  return new CliError(message, { exitCode: EXIT_CODE.unavailable, cause });
}

/** The text of whatever was thrown; also of an error of another realm, which no `instanceof` knows. */
export function messageOf(error: unknown): string {
  const message = (error as { message?: unknown } | null | undefined)?.message;
  return typeof message === 'string' ? message : String(error);
}

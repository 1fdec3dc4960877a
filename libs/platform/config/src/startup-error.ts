/**
 * A process cannot start until its operator changes something: bad settings, a busy port, a node id that
 * another process uses. The message alone tells what to change, so it is printed without a stack and the
 * process ends with exit code 2.
 */
export class StartupError extends Error {
  override readonly name: string = 'StartupError';
}

/** All that is wrong with the settings, one line each, so that one start shows every mistake. */
export class ConfigError extends StartupError {
  override readonly name: string = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super([`${problems.length === 1 ? 'a setting is' : 'settings are'} wrong:`, ...problems.map((problem) => `  - ${problem}`)].join('\n'));
    this.problems = problems;
  }
}

const LISTEN_PROBLEMS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is in use by another process',
  EADDRNOTAVAIL: 'does not belong to this machine',
  EACCES: 'may not be used by this user (ports below 1024 need privileges)',
};

/**
 * A failed listen() as a message for the operator, or the error itself when its cause is not one of the
 * usual three. `what` says who wanted the address ("gRPC server"), `setting` names what to change.
 */
export function toListenError(error: unknown, listen: { what: string; address: string; setting: string }): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? '';
  const problem = LISTEN_PROBLEMS[code];
  if (problem === undefined) return error;
  return new StartupError(`${listen.what}: address ${listen.address} ${problem}; set ${listen.setting} to another one`, {
    cause: error,
  });
}

/** What the shell learns from `atoll`. */
export const EXIT_CODE = {
  /** Done. */
  ok: 0,
  /** The operation failed, or the thing asked for does not exist. */
  failed: 1,
  /** Wrong usage or configuration: nothing was tried. */
  usage: 2,
  /** The cluster cannot be reached or cannot serve this now: trying again may help. */
  unavailable: 3,
} as const;

export type ExitCode = (typeof EXIT_CODE)[keyof typeof EXIT_CODE];

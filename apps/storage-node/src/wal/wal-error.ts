/**
 * DAMAGED: a file holds something else than what was written and synced. LOCKED: another process uses the
 * directory. UNKNOWN_FORMAT: written by a newer release.
 */
export type WalErrorKind = 'DAMAGED' | 'LOCKED' | 'UNKNOWN_FORMAT';

/** The log cannot be opened or read as it is; the message names the file and tells the operator what to do. */
export class WalError extends Error {
  override readonly name = 'WalError';
  readonly kind: WalErrorKind;
  readonly file: string;
  /** First byte of `file` that cannot be used; undefined where the file as a whole is meant. */
  readonly offset: number | undefined;

  constructor(kind: WalErrorKind, message: string, place: { file: string; offset?: number }) {
    const where = place.offset === undefined ? place.file : `${place.file} at byte ${place.offset}`;
    super(`${where}: ${message}`);
    this.kind = kind;
    this.file = place.file;
    this.offset = place.offset;
  }
}

/** Damage is never repaired by guessing: the operator chooses between a copy of the file and an empty node. */
export function damaged(place: { file: string; offset?: number }, what: string): WalError {
  return new WalError(
    'DAMAGED',
    `${what}; put an intact copy of the file back, or remove the data directory so that the node starts empty and is filled by its peers`,
    place,
  );
}

const CAUSES: Readonly<Record<string, string>> = {
  ENOSPC: 'no space is left on the device',
  EDQUOT: 'the disk quota is used up',
  EIO: 'the device reports an input/output error',
  EROFS: 'the file system is read-only',
};

const causeOf = (error: unknown): string =>
  CAUSES[(error as NodeJS.ErrnoException | undefined)?.code ?? ''] ?? (error instanceof Error ? error.message : String(error));

/** A checkpoint that could not be written: the log stays whole, so the node goes on and may try again. */
export function toCheckpointFailure(error: unknown, file: string): Error {
  return new Error(`checkpoint ${file}: ${causeOf(error)}; the log keeps the entries that it would have freed`, { cause: error });
}

/** A write or sync that failed: what the node says when it ends for it (R25). */
export function toWriteFailure(error: unknown, file: string): Error {
  return new Error(`write-ahead log ${file}: ${causeOf(error)}; the process ends, because what it wrote may not be on disk (R25)`, {
    cause: error,
  });
}

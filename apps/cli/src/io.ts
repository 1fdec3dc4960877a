import type { Readable, Writable } from 'node:stream';

/** Where a command reads and writes; main.ts passes the process's own. */
export interface Io {
  readonly stdin: Readable;
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly rows?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Absolute. Relative paths in arguments start here. */
  readonly cwd: string;
}

/** One line of a command's result. */
export function print(io: Io, text: string): void {
  io.stdout.write(`${text}\n`);
}

/** As `print`, no faster than it is read: there may be more lines than memory. */
export function printLine(io: Io, text: string): Promise<void> | undefined {
  if (io.stdout.write(`${text}\n`)) return undefined;
  return new Promise((drained) => io.stdout.once('drain', drained));
}

/** One line about what is going on; never part of the result. */
export function note(io: Io, text: string): void {
  io.stderr.write(`${text}\n`);
}

/** The result for programs: one JSON document, indented for people who look. */
export function printJson(io: Io, value: unknown): void {
  print(io, JSON.stringify(value, undefined, 2));
}

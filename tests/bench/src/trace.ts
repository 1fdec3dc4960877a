import { open } from 'node:fs/promises';
import { VALUE_BYTES_MAX } from '@atoll/core-runtime';

// Traces of block storage as CloudPhysics published them (libCacheSim's sample): CSV with a heading, columns found
// by name: `time` in seconds, `op` as SCSI opcode in hex, `size` in bytes, `lbn` as the key. A read is read-through
// (get, and a set of `size` bytes on a miss); a write is a set.

export interface TraceRequest {
  /** As in the file; the first request of a trace may have any time. */
  readonly timeMs: number;
  readonly kind: 'get' | 'set';
  readonly key: string;
  /** Size of the value that a set, or a get that misses, writes. */
  readonly valueBytes: number;
}

/** A line that cannot be read; the message names it. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

/** READ and WRITE of 6, 10, 12 and 16 bytes (SCSI Block Commands, table of operation codes). */
const KIND_BY_OPCODE: ReadonlyMap<string, TraceRequest['kind']> = new Map([
  ['08', 'get'],
  ['28', 'get'],
  ['a8', 'get'],
  ['88', 'get'],
  ['0a', 'set'],
  ['2a', 'set'],
  ['aa', 'set'],
  ['8a', 'set'],
]);

export const TRACE_HEADING = 'version,time,op,size,lbn';

const COLUMNS = ['time', 'op', 'size', 'lbn'] as const;

/** Reads line after line; the heading must come first. */
export class TraceParser {
  #columns: readonly number[] | undefined;
  #line = 0;

  /** undefined for the heading and for an empty line. Throws TraceError. */
  parse(line: string): TraceRequest | undefined {
    this.#line += 1;
    const text = line.trim();
    if (text === '') return undefined;
    const cells = text.split(',');
    if (this.#columns === undefined) {
      this.#columns = this.#readHeading(cells);
      return undefined;
    }
    const [time = '', op = '', size = '', key = ''] = this.#columns.map((column) => cells[column]?.trim());
    const kind = KIND_BY_OPCODE.get(op.toLowerCase());
    if (kind === undefined) throw this.#problem(`op must be a SCSI opcode of a read or a write, such as 28 or 2a, not '${op}'`);
    const timeMs = Math.round(Number(time) * 1e6) / 1000;
    if (time === '' || !Number.isFinite(timeMs)) throw this.#problem(`time must be a number of seconds, not '${time}'`);
    if (!/^\d+$/.test(size) || Number(size) > VALUE_BYTES_MAX) throw this.#problem(`size must be 0 to ${VALUE_BYTES_MAX} bytes, not '${size}'`);
    if (key === '') throw this.#problem('lbn is empty');
    return { timeMs, kind, key, valueBytes: Number(size) };
  }

  #readHeading(cells: readonly string[]): readonly number[] {
    const names = cells.map((cell) => cell.trim());
    const missing = COLUMNS.filter((column) => !names.includes(column));
    if (missing.length > 0) throw this.#problem(`the heading must be like '${TRACE_HEADING}'; it lacks ${missing.join(', ')}`);
    return COLUMNS.map((column) => names.indexOf(column));
  }

  #problem(message: string): TraceError {
    return new TraceError(`line ${this.#line}: ${message}`);
  }
}

export interface OpenTrace {
  /** Size of the file. */
  readonly bytes: number;
  /** Ends the reading of the file early as well. Rejects with TraceError. */
  readonly requests: AsyncIterable<TraceRequest>;
}

/** A trace on disk, read as it is asked for. `limit`: requests at most. */
export async function openTrace(path: string, limit = Infinity): Promise<OpenTrace> {
  const file = await open(path);
  const { size } = await file.stat();
  return { bytes: size, requests: readRequests(file, limit) };
}

/** Counts the requests of a file without reading them: its lines but the heading. */
export async function countRequests(path: string): Promise<number> {
  const file = await open(path);
  let lines = 0;
  for await (const line of file.readLines()) if (line.trim() !== '') lines += 1;
  return Math.max(0, lines - 1);
}

async function* readRequests(file: Awaited<ReturnType<typeof open>>, limit: number): AsyncGenerator<TraceRequest, void, undefined> {
  const parser = new TraceParser();
  let count = 0;
  try {
    for await (const line of file.readLines()) {
      if (count >= limit) return;
      const request = parser.parse(line);
      if (request === undefined) continue;
      count += 1;
      yield request;
    }
  } finally {
    await file.close();
  }
}

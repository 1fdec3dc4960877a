// A fencing token on its way: with a request, in the log, in a snapshot, in a checkpoint. One encoding for the last three:
//
//   u8 flags (1 shared, 2 range, 4 the range has an end) | u48 token
//   by name: u16 bytes, name in UTF-8        by range: u32 u32 start, u32 u32 end
import type { TokenRange } from '@atoll/core-placement';

/** The lock behind a fence, as a partition knows it: range locks are always those of its own keyspace. */
export type FencedLock = { readonly kind: 'name'; readonly name: string } | { readonly kind: 'range'; readonly range: TokenRange };

/** Proof of a lock that an operation carries (I9). */
export interface Fence {
  readonly lock: FencedLock;
  /** Revision of etcd at which the lock was asked for; 1 to 2^48 - 1. */
  readonly token: number;
  readonly isShared: boolean;
}

export const FENCING_TOKEN_MAX = 2 ** 48 - 1;

const SHARED = 1;
const RANGE = 2;
const ENDED = 4;
const HIGH = 2 ** 32;
const RANGE_BYTES = 16;

/** Bytes that `encodeFence` will write. */
export function fenceBytes({ lock }: Fence): number {
  return 1 + 6 + (lock.kind === 'range' ? RANGE_BYTES : 2 + Buffer.byteLength(lock.name));
}

/** Writes the fence at `at` and returns the offset behind it. */
export function encodeFence({ lock, token, isShared }: Fence, target: Buffer, at: number): number {
  const isEnded = lock.kind === 'range' && lock.range.end !== undefined;
  target[at] = (isShared ? SHARED : 0) | (lock.kind === 'range' ? RANGE : 0) | (isEnded ? ENDED : 0);
  let offset = writeUint48(target, token, at + 1);
  if (lock.kind === 'name') {
    const bytes = target.write(lock.name, offset + 2, 'utf8');
    target.writeUInt16LE(bytes, offset);
    return offset + 2 + bytes;
  }
  const { start, end = { high: 0, low: 0 } } = lock.range;
  for (const half of [start.high, start.low, end.high, end.low]) offset = target.writeUInt32LE(half, offset);
  return offset;
}

/** Throws RangeError on damage. */
export function decodeFence(source: Buffer, at: number): { readonly fence: Fence; readonly end: number } {
  const flags = source.readUInt8(at);
  const token = readUint48(source, at + 1);
  const isShared = (flags & SHARED) !== 0;
  const from = at + 7;
  if ((flags & RANGE) === 0) {
    const end = from + 2 + source.readUInt16LE(from);
    if (end > source.length) throw new RangeError(`the fence at ${at} reaches beyond its buffer`);
    return { fence: { lock: { kind: 'name', name: source.toString('utf8', from + 2, end) }, token, isShared }, end };
  }
  const start = { high: source.readUInt32LE(from), low: source.readUInt32LE(from + 4) };
  const end = (flags & ENDED) === 0 ? undefined : { high: source.readUInt32LE(from + 8), low: source.readUInt32LE(from + 12) };
  return { fence: { lock: { kind: 'range', range: { start, end } }, token, isShared }, end: from + RANGE_BYTES };
}

export function writeUint48(target: Buffer, value: number, at: number): number {
  target.writeUInt32LE(value % HIGH >>> 0, at);
  return target.writeUInt16LE(Math.floor(value / HIGH), at + 4);
}

export function readUint48(source: Buffer, at: number): number {
  return source.readUInt32LE(at) + source.readUInt16LE(at + 4) * HIGH;
}

// One entry of a partition's log, in the one encoding that memory, the wire and the disk share. The leader encodes
// an entry once; followers and the write-ahead log keep the same bytes. docs/design/log-format.md describes them.
//
// An entry holds the result of a request, never a condition or a delta (R18), with its op id (R21), the keys that
// were evicted to make room for it (R22) and the partition's time at which it was appended (R23, R40).
//
//   u32 bytes behind this field | u8 kind | u32 epoch | u48 seq | f64 stampMs
//   u8 client id bytes, client id, u48 op counter     (only the zero byte when there is no op id)
//   u16 evicted keys, each: u16 bytes, key
//   a fence, if the kind has the bit 128: the highest token of a lock so far (R38; core-locks has its encoding)
//   PUT: u16 key bytes, key, f64 expiresAtMs, value (the rest)
//   DELETE: u16 key bytes, key
//   EXPIRE: u32 u32 from, u8 hasTo, u32 u32 to, f64 watermarkMs
//   OFFICE: nothing: the first entry of an epoch
//   MARKER: nothing: replicas keep their digests when they apply it (R34)
//   UNCHANGED: u16 key bytes, key, u32 epoch, u48 seq: a write that was sent again changed nothing, and what it met (R21)
//   FENCE: nothing: a request under a new fence changed nothing else (R38)
//   COPIED: how far the partition has what a partition of its source holds (R37); copy/copy-position.ts has its encoding
import { decodeFence, encodeFence, fenceBytes, type Fence } from '@atoll/core-locks';
import type { Hash64 } from '@atoll/core-runtime';
import { COPY_POSITION_BYTES, decodeCopyPosition, encodeCopyPosition, type CopyPosition } from './copy/copy-position.ts';

export interface OpId {
  /** 8 to 16 bytes. */
  readonly clientId: Uint8Array;
  readonly counter: number;
}

export type LogOperation =
  | { readonly kind: 'put'; readonly key: Uint8Array; readonly value: Uint8Array; readonly expiresAtMs: number }
  | { readonly kind: 'delete'; readonly key: Uint8Array }
  | { readonly kind: 'expire'; readonly from: Hash64; readonly to: Hash64 | undefined; readonly watermarkMs: number }
  | { readonly kind: 'office' }
  | { readonly kind: 'marker' }
  /** The fence of the entry is all that it brings. */
  | { readonly kind: 'fence' }
  /** The entries before it brought what the source held up to this place (R37). */
  | { readonly kind: 'copied'; readonly position: CopyPosition }
  /** A write that was sent again changed nothing: its first sending, should it still come, must not either (R21). */
  | { readonly kind: 'unchanged'; readonly key: Uint8Array; readonly current: { readonly epoch: number; readonly seq: number } | undefined };

export interface LogEntry {
  readonly epoch: number;
  readonly seq: number;
  /** The partition's time at the append. */
  readonly stampMs: number;
  readonly opId: OpId | undefined;
  readonly evicted: readonly Uint8Array[];
  readonly operation: LogOperation;
  /** A fencing token that is higher than all that this partition had seen of the lock (R38). */
  readonly fence?: Fence | undefined;
}

const KIND = { put: 1, delete: 2, expire: 3, office: 4, marker: 5, unchanged: 6, fence: 7, copied: 8 } as const;
/** Set in the kind of an entry that has a fence. */
const FENCED = 128;
const FIXED_BYTES = 4 + 1 + 4 + 6 + 8;
const EXPIRE_BYTES = 4 + 4 + 1 + 4 + 4 + 8;
const HIGH = 2 ** 32;
/** Of nearly every entry. */
const NOTHING_EVICTED: Uint8Array[] = [];

/** Bytes that `encodeEntry` will write. */
export function encodedBytes(entry: LogEntry): number {
  let bytes = FIXED_BYTES + 1 + 2;
  if (entry.opId !== undefined) bytes += entry.opId.clientId.length + 6;
  for (const key of entry.evicted) bytes += 2 + key.length;
  if (entry.fence !== undefined) bytes += fenceBytes(entry.fence);
  const { operation } = entry;
  switch (operation.kind) {
    case 'put':
      return bytes + 2 + operation.key.length + 8 + operation.value.length;
    case 'delete':
      return bytes + 2 + operation.key.length;
    case 'expire':
      return bytes + EXPIRE_BYTES;
    case 'office':
    case 'marker':
    case 'fence':
      return bytes;
    case 'unchanged':
      return bytes + 2 + operation.key.length + 4 + 6;
    case 'copied':
      return bytes + COPY_POSITION_BYTES;
    default:
      return operation satisfies never;
  }
}

/** Writes the entry at `at` and returns the offset behind it. `target` must have room for `encodedBytes(entry)`. */
export function encodeEntry(entry: LogEntry, target: Buffer, at: number): number {
  let offset = at + 4;
  target[offset] = KIND[entry.operation.kind] | (entry.fence === undefined ? 0 : FENCED);
  target.writeUInt32LE(entry.epoch, offset + 1);
  offset = writeUint48(target, entry.seq, offset + 5);
  offset = target.writeDoubleLE(entry.stampMs, offset);
  if (entry.opId === undefined) {
    target[offset++] = 0;
  } else {
    target[offset++] = entry.opId.clientId.length;
    offset = writeBytes(target, entry.opId.clientId, offset);
    offset = writeUint48(target, entry.opId.counter, offset);
  }
  offset = target.writeUInt16LE(entry.evicted.length, offset);
  for (const key of entry.evicted) offset = writeKey(target, key, offset);
  if (entry.fence !== undefined) offset = encodeFence(entry.fence, target, offset);
  const { operation } = entry;
  switch (operation.kind) {
    case 'put':
      offset = writeKey(target, operation.key, offset);
      offset = target.writeDoubleLE(operation.expiresAtMs, offset);
      offset = writeBytes(target, operation.value, offset);
      break;
    case 'delete':
      offset = writeKey(target, operation.key, offset);
      break;
    case 'expire':
      offset = target.writeUInt32LE(operation.from.high, offset);
      offset = target.writeUInt32LE(operation.from.low, offset);
      target[offset++] = operation.to === undefined ? 0 : 1;
      offset = target.writeUInt32LE(operation.to?.high ?? 0, offset);
      offset = target.writeUInt32LE(operation.to?.low ?? 0, offset);
      offset = target.writeDoubleLE(operation.watermarkMs, offset);
      break;
    case 'office':
    case 'marker':
    case 'fence':
      break;
    case 'unchanged':
      offset = writeKey(target, operation.key, offset);
      offset = target.writeUInt32LE(operation.current?.epoch ?? 0, offset);
      offset = writeUint48(target, operation.current?.seq ?? 0, offset);
      break;
    case 'copied':
      offset = encodeCopyPosition(operation.position, target, offset);
      break;
  }
  target.writeUInt32LE(offset - at - 4, at);
  return offset;
}

/** Length of the entry that begins at `at`, its length field included. */
export function entryBytesAt(source: Buffer, at: number): number {
  return source.readUInt32LE(at) + 4;
}

/** Epoch and seq of the entry that begins at `at`, without decoding the rest. */
export function entryPositionAt(source: Buffer, at: number): { readonly epoch: number; readonly seq: number } {
  return { epoch: source.readUInt32LE(at + 5), seq: readUint48(source, at + 9) };
}

/** Decodes the entry that begins at `at`. Keys and values are views of `source`. Throws RangeError on damage. */
export function decodeEntry(source: Buffer, at: number): LogEntry {
  const end = at + entryBytesAt(source, at);
  if (end > source.length) throw new RangeError(`log entry at ${at} reaches beyond its buffer`);
  const kind = source[at + 4] ?? 0;
  const { epoch, seq } = entryPositionAt(source, at);
  const stampMs = source.readDoubleLE(at + 15);
  let offset = at + FIXED_BYTES;
  let opId: OpId | undefined;
  const clientIdBytes = source[offset++] ?? 0;
  if (clientIdBytes > 0) {
    opId = { clientId: source.subarray(offset, offset + clientIdBytes), counter: readUint48(source, offset + clientIdBytes) };
    offset += clientIdBytes + 6;
  }
  const evictedCount = source.readUInt16LE(offset);
  offset += 2;
  const evicted: Uint8Array[] = evictedCount === 0 ? NOTHING_EVICTED : [];
  for (let index = 0; index < evictedCount; index += 1) {
    const bytes = source.readUInt16LE(offset);
    evicted.push(source.subarray(offset + 2, offset + 2 + bytes));
    offset += 2 + bytes;
  }
  if ((kind & FENCED) === 0) return { epoch, seq, stampMs, opId, evicted, operation: decodeOperation(source, kind, offset, end), fence: undefined };
  const fenced = decodeFence(source, offset);
  return { epoch, seq, stampMs, opId, evicted, operation: decodeOperation(source, kind & ~FENCED, fenced.end, end), fence: fenced.fence };
}

function decodeOperation(source: Buffer, kind: number | undefined, at: number, end: number): LogOperation {
  switch (kind) {
    case KIND.put: {
      const keyEnd = at + 2 + source.readUInt16LE(at);
      return {
        kind: 'put',
        key: source.subarray(at + 2, keyEnd),
        expiresAtMs: source.readDoubleLE(keyEnd),
        value: source.subarray(keyEnd + 8, end),
      };
    }
    case KIND.delete:
      return { kind: 'delete', key: source.subarray(at + 2, at + 2 + source.readUInt16LE(at)) };
    case KIND.expire: {
      const to = source[at + 8] === 0 ? undefined : { high: source.readUInt32LE(at + 9), low: source.readUInt32LE(at + 13) };
      return {
        kind: 'expire',
        from: { high: source.readUInt32LE(at), low: source.readUInt32LE(at + 4) },
        to,
        watermarkMs: source.readDoubleLE(at + 17),
      };
    }
    case KIND.office:
      return { kind: 'office' };
    case KIND.marker:
      return { kind: 'marker' };
    case KIND.fence:
      return { kind: 'fence' };
    case KIND.copied:
      return { kind: 'copied', position: decodeCopyPosition(source, at) };
    case KIND.unchanged: {
      const keyEnd = at + 2 + source.readUInt16LE(at);
      const seq = readUint48(source, keyEnd + 4);
      return { kind: 'unchanged', key: source.subarray(at + 2, keyEnd), current: seq === 0 ? undefined : { epoch: source.readUInt32LE(keyEnd), seq } };
    }
    default:
      throw new RangeError(`log entry of unknown kind ${kind}`);
  }
}

function writeKey(target: Buffer, key: Uint8Array, at: number): number {
  target.writeUInt16LE(key.length, at);
  return writeBytes(target, key, at + 2);
}

function writeBytes(target: Buffer, bytes: Uint8Array, at: number): number {
  target.set(bytes, at);
  return at + bytes.length;
}

function writeUint48(target: Buffer, value: number, at: number): number {
  target.writeUInt32LE(value % HIGH >>> 0, at);
  return target.writeUInt16LE(Math.floor(value / HIGH), at + 4);
}

function readUint48(source: Buffer, at: number): number {
  return source.readUInt32LE(at) + source.readUInt16LE(at + 4) * HIGH;
}

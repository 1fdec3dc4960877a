import { AtollError } from '@atoll/core-errors';
import { checksum32, hash64, type Hash64 } from '@atoll/core-runtime';

// A session token says, per partition, how far its holder has seen: the reads of a session then see at least
// that much (read-your-writes, monotonic reads). Bounded, as R35 asks: beyond SESSION_PARTITIONS_MAX the
// partitions not seen for longest go, and a flag says that unlisted partitions must be read STRONG.
//
//   byte 0      format, 1
//   byte 1      flags, bit 0: positions were dropped
//   bytes 2-3   number of positions, big-endian
//   26 bytes each, least recently seen first:
//               keyspace tag u64, partition u16, generation u32, epoch u32, seq u64
//   4 bytes     xxh32 of everything before: guards against truncation and mix-ups, not against forgery

/** How far something has been seen in one partition. Ordered by generation, epoch, seq. */
export interface SessionPosition {
  readonly partition: number;
  /** Counter of the generation (R3). */
  readonly generation: number;
  readonly epoch: number;
  readonly seq: number;
}

/** Positions that a token holds at most. */
export const SESSION_PARTITIONS_MAX = 256;

const FORMAT = 1;
const FLAG_DROPPED = 1;
const HEADER_BYTES = 4;
const POSITION_BYTES = 26;
const CHECKSUM_BYTES = 4;
const SINGLE_BYTES = HEADER_BYTES + POSITION_BYTES + CHECKSUM_BYTES;
const EMPTY: Buffer = Buffer.alloc(0);
const TWO_32 = 2 ** 32;
const TAG_SEED = 0x61746f6c6c5f7373n; // "atoll_ss"

/** What stands for a keyspace in tokens: a hash of its id, so that a keyspace made again is another one. */
export function keyspaceTag(keyspaceId: string): Hash64 {
  return hash64(Buffer.from(keyspaceId), TAG_SEED);
}

/** Token of one position: what a storage node answers. The common case, kept cheap. */
export function encodePosition(tag: Hash64, position: SessionPosition): Buffer {
  const bytes = Buffer.allocUnsafe(SINGLE_BYTES);
  writeHeader(bytes, 0, 1);
  writePosition(bytes, HEADER_BYTES, tag, position);
  writeChecksum(bytes);
  return bytes;
}

/**
 * The position that `token` holds for a partition; undefined when it holds none. No bytes are an empty token.
 * Throws SESSION_MALFORMED.
 */
export function positionIn(token: Buffer, tag: Hash64, partition: number): SessionPosition | undefined {
  const count = checkToken(token);
  const offset = findPosition(token, count, tag.high, tag.low, partition);
  return offset === undefined ? undefined : readPosition(token, offset);
}

/** What a router sends on to a storage node of one partition. */
export interface NarrowedSession {
  /** Holds at most the one position; may be empty. */
  readonly token: Buffer;
  /** The partition is not listed and positions were dropped: only a STRONG read keeps the promise (R35). */
  readonly mustBeStrong: boolean;
}

/** The part of a token that concerns one partition. Throws SESSION_MALFORMED. */
export function narrowSession(token: Buffer, tag: Hash64, partition: number): NarrowedSession {
  const count = checkToken(token);
  const offset = findPosition(token, count, tag.high, tag.low, partition);
  if (offset === undefined) return { token: EMPTY, mustBeStrong: count > 0 && (token[1]! & FLAG_DROPPED) !== 0 };
  if (count === 1) return { token, mustBeStrong: false };
  return { token: encodePosition(tag, readPosition(token, offset)), mustBeStrong: false };
}

/**
 * Both tokens in one: per partition the later position. Partitions of `newer` count as seen last. Either may
 * be empty; neither is changed; the result may be one of them. Throws SESSION_MALFORMED.
 */
export function mergeSessions(older: Buffer, newer: Buffer): Buffer {
  if (newer.length === 0) {
    checkToken(older);
    return older;
  }
  const newerCount = checkToken(newer);
  if (older.length === 0) return newer;
  const olderCount = checkToken(older);
  if (olderCount === 1 && newerCount === 1 && isSamePartition(older, newer) && older[1] === newer[1]) {
    return comparePositions(older, HEADER_BYTES, newer, HEADER_BYTES) > 0 ? older : newer;
  }
  return mergeMany(older, olderCount, newer, newerCount);
}

function mergeMany(older: Buffer, olderCount: number, newer: Buffer, newerCount: number): Buffer {
  let flags = older[1]! | newer[1]!;
  const entries: { source: Buffer; offset: number }[] = [];
  const taken = new Set<number>();
  const seenLast: typeof entries = [];
  for (let index = 0; index < newerCount; index += 1) {
    const offset = HEADER_BYTES + index * POSITION_BYTES;
    const found = findPosition(older, olderCount, newer.readUInt32BE(offset), newer.readUInt32BE(offset + 4), newer.readUInt16BE(offset + 8));
    if (found !== undefined) taken.add(found);
    const isOlderAhead = found !== undefined && comparePositions(older, found, newer, offset) > 0;
    seenLast.push(isOlderAhead ? { source: older, offset: found } : { source: newer, offset });
  }
  for (let index = 0; index < olderCount; index += 1) {
    const offset = HEADER_BYTES + index * POSITION_BYTES;
    if (!taken.has(offset)) entries.push({ source: older, offset });
  }
  entries.push(...seenLast);
  const dropped = Math.max(0, entries.length - SESSION_PARTITIONS_MAX);
  if (dropped > 0) flags |= FLAG_DROPPED;
  const kept = dropped > 0 ? entries.slice(dropped) : entries;
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + kept.length * POSITION_BYTES + CHECKSUM_BYTES);
  writeHeader(bytes, flags, kept.length);
  kept.forEach(({ source, offset }, index) => source.copy(bytes, HEADER_BYTES + index * POSITION_BYTES, offset, offset + POSITION_BYTES));
  writeChecksum(bytes);
  return bytes;
}

/** Number of positions of a well-formed token. */
function checkToken(token: Buffer): number {
  if (token.length === 0) return 0;
  if (token.length < SINGLE_BYTES || token[0] !== FORMAT || token[1]! > FLAG_DROPPED) throw malformed();
  const count = token.readUInt16BE(2);
  const body = HEADER_BYTES + count * POSITION_BYTES;
  if (count > SESSION_PARTITIONS_MAX || token.length !== body + CHECKSUM_BYTES) throw malformed();
  if (token.readUInt32BE(body) !== checksum32(token.subarray(0, body))) throw malformed();
  return count;
}

function malformed(): AtollError {
  return new AtollError('SESSION_MALFORMED', 'session: is not a token that this cluster gave out', { metadata: { field: 'session' } });
}

function writeHeader(bytes: Buffer, flags: number, count: number): void {
  bytes[0] = FORMAT;
  bytes[1] = flags;
  bytes.writeUInt16BE(count, 2);
}

function writePosition(bytes: Buffer, offset: number, tag: Hash64, position: SessionPosition): void {
  bytes.writeUInt32BE(tag.high, offset);
  bytes.writeUInt32BE(tag.low, offset + 4);
  bytes.writeUInt16BE(position.partition, offset + 8);
  bytes.writeUInt32BE(position.generation, offset + 10);
  bytes.writeUInt32BE(position.epoch, offset + 14);
  bytes.writeUInt32BE(Math.floor(position.seq / TWO_32), offset + 18);
  bytes.writeUInt32BE(position.seq % TWO_32, offset + 22);
}

function readPosition(token: Buffer, offset: number): SessionPosition {
  return {
    partition: token.readUInt16BE(offset + 8),
    generation: token.readUInt32BE(offset + 10),
    epoch: token.readUInt32BE(offset + 14),
    seq: token.readUInt32BE(offset + 18) * TWO_32 + token.readUInt32BE(offset + 22),
  };
}

function writeChecksum(bytes: Buffer): void {
  const body = bytes.length - CHECKSUM_BYTES;
  bytes.writeUInt32BE(checksum32(bytes.subarray(0, body)), body);
}

function findPosition(token: Buffer, count: number, high: number, low: number, partition: number): number | undefined {
  for (let index = 0; index < count; index += 1) {
    const offset = HEADER_BYTES + index * POSITION_BYTES;
    if (token.readUInt16BE(offset + 8) === partition && token.readUInt32BE(offset + 4) === low && token.readUInt32BE(offset) === high) return offset;
  }
  return undefined;
}

const isSamePartition = (a: Buffer, b: Buffer): boolean => a.compare(b, HEADER_BYTES, HEADER_BYTES + 10, HEADER_BYTES, HEADER_BYTES + 10) === 0;

/** Generation, epoch and seq stand big-endian in a row, so their bytes compare as they do. */
const comparePositions = (a: Buffer, aOffset: number, b: Buffer, bOffset: number): number =>
  a.compare(b, bOffset + 10, bOffset + POSITION_BYTES, aOffset + 10, aOffset + POSITION_BYTES);

// Entries by reference: reads and writes what `entry-layout.ts` describes, and holds the values that lie outside.
import type { Hash64 } from '@atoll/core-runtime';
import {
  EXPIRES_AT_MS_MAX,
  OUTSIDE_VALUE_BYTES_MIN,
  TWO_32,
  WORD_ACCESS,
  WORD_EPOCH,
  WORD_EXPIRY_HIGH,
  WORD_EXPIRY_LOW,
  WORD_GENERATION,
  WORD_HASH_HIGH,
  WORD_HASH_LOW,
  WORD_OUTSIDE,
  WORD_OWNER,
  WORD_SEQ_HIGH,
  WORD_SEQ_LOW,
  WORD_VALUE_LENGTH,
  entryBytesOf,
  expiresAtMsAt,
  keyLengthAt,
  keyOffset,
  segmentBytesAt,
  segmentBytesOf,
  seqAt,
} from './entry-layout.ts';
import type { EntryVersion } from './entry-version.ts';
import { OutsideValues } from './outside-values.ts';
import type { Segment } from './segment-log.ts';
import { SegmentLog } from './segment-log.ts';

/** What a write leaves behind. */
export interface NewEntry {
  /** 1 to 4096 bytes; copied. */
  readonly key: Uint8Array;
  /** `keyHash(key)`. */
  readonly hash: Hash64;
  /** Copied below 64 KiB, kept as it is from there on: the caller must not change it any more. */
  readonly value: Uint8Array;
  readonly version: EntryVersion;
  /** Milliseconds since the epoch, 0 for never. */
  readonly expiresAtMs: number;
}

/** Below this length a loop copies and compares faster than a call of the engine. */
const SHORT_BYTES = 24;

export class EntryHeap {
  readonly log = new SegmentLog();
  readonly outside = new OutsideValues();

  /** Writes a new entry and returns its reference. */
  write(owner: number, entry: NewEntry, access: number): number {
    const valueLength = entry.value.length;
    const ref = this.log.allocate(segmentBytesOf(entry.key.length, valueLength));
    const segment = this.#segmentOf(ref);
    const at = wordOf(ref);
    const words = segment.words;
    words[at + WORD_OWNER] = owner;
    words[at + WORD_HASH_HIGH] = entry.hash.high;
    words[at + WORD_HASH_LOW] = entry.hash.low;
    if (valueLength >= OUTSIDE_VALUE_BYTES_MIN) words[at + WORD_OUTSIDE] = this.outside.add(entry.value);
    copyBytes(entry.key, segment.bytes, at * 4 + keyOffset(valueLength));
    writeRest(segment, at, entry, access);
    return ref;
  }

  /** Writes over the entry of the same key if the new one takes the same room; else returns false. */
  overwrite(ref: number, entry: NewEntry, access: number): boolean {
    const segment = this.#segmentOf(ref);
    const at = wordOf(ref);
    const valueLength = entry.value.length;
    const oldLength = segment.words[at + WORD_VALUE_LENGTH]!;
    if (oldLength >= OUTSIDE_VALUE_BYTES_MIN || valueLength >= OUTSIDE_VALUE_BYTES_MIN) return false;
    if (segmentBytesOf(entry.key.length, valueLength) !== segmentBytesOf(entry.key.length, oldLength)) return false;
    writeRest(segment, at, entry, access);
    return true;
  }

  free(ref: number): void {
    const { words } = this.#segmentOf(ref);
    const at = wordOf(ref);
    if (words[at + WORD_VALUE_LENGTH]! >= OUTSIDE_VALUE_BYTES_MIN) this.outside.remove(words[at + WORD_OUTSIDE]!);
    this.log.free(ref, segmentBytesAt(words, at));
  }

  keyEquals(ref: number, key: Uint8Array): boolean {
    const { words, bytes } = this.#segmentOf(ref);
    const at = wordOf(ref);
    const length = keyLengthAt(words, at);
    if (length !== key.length) return false;
    const start = at * 4 + keyOffset(words[at + WORD_VALUE_LENGTH]!);
    if (length > SHORT_BYTES) return bytes.compare(key, 0, length, start, start + length) === 0;
    for (let index = 0; index < length; index += 1) if (bytes[start + index] !== key[index]) return false;
    return true;
  }

  /** A copy. */
  keyAt(ref: number): Buffer {
    const { words, bytes } = this.#segmentOf(ref);
    const at = wordOf(ref);
    const start = at * 4 + keyOffset(words[at + WORD_VALUE_LENGTH]!);
    return copyOf(bytes, start, keyLengthAt(words, at));
  }

  /** A copy, or the outside value itself. */
  valueAt(ref: number): Buffer {
    const { words, bytes } = this.#segmentOf(ref);
    const at = wordOf(ref);
    const length = words[at + WORD_VALUE_LENGTH]!;
    if (length >= OUTSIDE_VALUE_BYTES_MIN) return this.outside.at(words[at + WORD_OUTSIDE]!);
    return copyOf(bytes, at * 4 + keyOffset(length) + keyLengthAt(words, at), length);
  }

  versionAt(ref: number): EntryVersion {
    const { words } = this.#segmentOf(ref);
    const at = wordOf(ref);
    return { generation: words[at + WORD_GENERATION]!, epoch: words[at + WORD_EPOCH]!, seq: seqAt(words, at) };
  }

  expiresAtMs(ref: number): number {
    return expiresAtMsAt(this.#segmentOf(ref).words, wordOf(ref));
  }

  hashAt(ref: number): Hash64 {
    const { words } = this.#segmentOf(ref);
    const at = wordOf(ref);
    return { high: words[at + WORD_HASH_HIGH]!, low: words[at + WORD_HASH_LOW]! };
  }

  /** What the entry costs its account. */
  bytesAt(ref: number): number {
    const { words } = this.#segmentOf(ref);
    const at = wordOf(ref);
    return entryBytesOf(keyLengthAt(words, at), words[at + WORD_VALUE_LENGTH]!);
  }

  /** Length of key and value together. */
  contentBytesAt(ref: number): number {
    const { words } = this.#segmentOf(ref);
    const at = wordOf(ref);
    return keyLengthAt(words, at) + words[at + WORD_VALUE_LENGTH]!;
  }

  accessAt(ref: number): number {
    return this.#segmentOf(ref).words[wordOf(ref) + WORD_ACCESS]!;
  }

  setAccess(ref: number, access: number): void {
    this.#segmentOf(ref).words[wordOf(ref) + WORD_ACCESS] = access;
  }

  /** The words of the entry's segment; its header begins at `wordOf(ref)`. */
  wordsOf(ref: number): Uint32Array {
    return this.#segmentOf(ref).words;
  }

  #segmentOf(ref: number): Segment {
    return this.log.segments[ref >>> 16]!;
  }
}

export function wordOf(ref: number): number {
  return (ref & 0xffff) << 1;
}

/** Everything of an entry but its owner, hash, key and outside number. */
function writeRest(segment: Segment, at: number, entry: NewEntry, access: number): void {
  const { words } = segment;
  const { version, value } = entry;
  const expiresAtMs = Math.min(entry.expiresAtMs, EXPIRES_AT_MS_MAX);
  words[at + WORD_GENERATION] = version.generation;
  words[at + WORD_EPOCH] = version.epoch;
  words[at + WORD_SEQ_LOW] = version.seq;
  words[at + WORD_SEQ_HIGH] = version.seq / TWO_32;
  words[at + WORD_EXPIRY_LOW] = expiresAtMs;
  words[at + WORD_EXPIRY_HIGH] = (expiresAtMs / TWO_32) | (entry.key.length << 16);
  words[at + WORD_VALUE_LENGTH] = value.length;
  words[at + WORD_ACCESS] = access;
  if (value.length < OUTSIDE_VALUE_BYTES_MIN) copyBytes(value, segment.bytes, at * 4 + keyOffset(value.length) + entry.key.length);
}

function copyBytes(source: Uint8Array, target: Buffer, to: number): void {
  const length = source.length;
  if (length > SHORT_BYTES) target.set(source, to);
  else for (let index = 0; index < length; index += 1) target[to + index] = source[index]!;
}

function copyOf(source: Buffer, from: number, length: number): Buffer {
  const copy = Buffer.allocUnsafe(length);
  if (length > SHORT_BYTES) source.copy(copy, 0, from, from + length);
  else for (let index = 0; index < length; index += 1) copy[index] = source[from + index]!;
  return copy;
}

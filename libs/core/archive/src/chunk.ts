// A chunk: up to 96 MiB of rows or log entries, compressed, encrypted if there is a key, and named by the SHA-256 of the
// bytes as they are stored. docs/design/archive-format.md has the layout and why the name is of the stored bytes.
//
// Writing is a function of content, settings and key: the nonce of a chunk is the beginning of HMAC-SHA-256, under a key of
// its own, over header and compressed bytes. So the same content gives the same name, with encryption as well, and a nonce
// comes twice only with what it sealed before.
import { MIB } from '@atoll/core-runtime';
import type { ArchiveCodec } from './archive-codec.ts';
import { archiveDamaged, archiveTooNew, keyFor } from './archive-errors.ts';
import type { ArchiveKey } from './archive-key.ts';

export const CHUNK_PLAIN_BYTES_MAX = 96 * MIB;
/** What writers aim at: a value may be larger. */
export const CHUNK_PLAIN_BYTES = 4 * MIB;
export const CHUNK_MAJOR = 1;

export const CHUNK_HEADER_BYTES = 40;
const MAGIC = Buffer.from('ATOLLCHK');
const AT_MAJOR = 8;
const AT_KIND = 9;
const AT_COMPRESSION = 10;
const AT_ENCRYPTION = 11;
const AT_PLAIN_BYTES = 12;
const AT_BODY_BYTES = 16;
const AT_KEY_ID = 20;
const AT_NONCE = 28;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const ZSTD = 1;
const AES_256_GCM = 1;
const CHUNK_ID = /^[0-9a-f]{64}$/;

/** ROWS: entries, and deletes in increments, in the order of their key hashes. LOG: entries of a partition's log, in order. */
export const CHUNK_KINDS = { ROWS: 1, LOG: 2 } as const;
export type ChunkKind = keyof typeof CHUNK_KINDS;

export interface ChunkSettings {
  /** Of zstd, 1 to 19; 0 stores chunks as they are. One that does not become shorter is stored so as well. */
  readonly level: number;
  /** Undefined: chunks are not encrypted. */
  readonly key?: ArchiveKey | undefined;
}

export interface EncodedChunk {
  /** SHA-256 of `bytes`, 64 hex digits. */
  readonly id: string;
  readonly bytes: Buffer;
}

export interface DecodedChunk {
  readonly kind: ChunkKind;
  readonly plain: Buffer;
}

export const isChunkId = (text: string): boolean => CHUNK_ID.test(text);

/** Throws RangeError for more than CHUNK_PLAIN_BYTES_MAX. */
export async function encodeChunk(codec: ArchiveCodec, kind: ChunkKind, plain: Uint8Array, { level, key }: ChunkSettings): Promise<EncodedChunk> {
  if (plain.length > CHUNK_PLAIN_BYTES_MAX) throw new RangeError(`a chunk of ${plain.length} bytes is too long`);
  const compressed = level === 0 ? plain : await codec.compress(plain, level);
  const isCompressed = compressed.length < plain.length;
  let body = isCompressed ? compressed : plain;
  const header = Buffer.alloc(CHUNK_HEADER_BYTES);
  header.set(MAGIC);
  header[AT_MAJOR] = CHUNK_MAJOR;
  header[AT_KIND] = CHUNK_KINDS[kind];
  header[AT_COMPRESSION] = isCompressed ? ZSTD : 0;
  header[AT_ENCRYPTION] = key === undefined ? 0 : AES_256_GCM;
  header.writeUInt32LE(plain.length, AT_PLAIN_BYTES);
  header.writeUInt32LE(body.length + (key === undefined ? 0 : TAG_BYTES), AT_BODY_BYTES);
  if (key !== undefined) {
    header.write(key.id, AT_KEY_ID, 'hex');
    header.set(codec.hmac(key.nonce, [header, body]).subarray(0, NONCE_BYTES), AT_NONCE);
    body = codec.seal(key.encryption, header.subarray(AT_NONCE, AT_NONCE + NONCE_BYTES), header, body);
  }
  const bytes = Buffer.concat([header, body]);
  return { id: codec.sha256([bytes]).toString('hex'), bytes };
}

/**
 * Whether the stored bytes are those that were written, which takes no key. `storedBytes`: what the manifest says; undefined
 * for a chunk that is looked at by itself.
 * @throws ARCHIVE_DAMAGED (TRUNCATED, ALTERED), ARCHIVE_TOO_NEW
 */
export function checkChunk(codec: ArchiveCodec, id: string, bytes: Buffer, storedBytes?: number): void {
  const object = `chunk ${id}`;
  const isOwn = codec.sha256([bytes]).toString('hex') === id;
  if (!isOwn) {
    const wanted = storedBytes ?? announcedBytes(bytes);
    if (bytes.length < wanted) throw archiveDamaged(object, 'TRUNCATED', `has ${bytes.length} of ${wanted} bytes`);
    throw archiveDamaged(object, 'ALTERED', `its ${bytes.length} bytes are not those that were written`);
  }
  if (bytes.length < CHUNK_HEADER_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) throw archiveDamaged(object, 'MALFORMED', 'is no chunk');
  const major = bytes[AT_MAJOR]!;
  if (major > CHUNK_MAJOR) throw archiveTooNew(object, `format ${major}, this one reads up to ${CHUNK_MAJOR}`);
  if (bytes.length !== announcedBytes(bytes)) throw archiveDamaged(object, 'MALFORMED', `announces ${announcedBytes(bytes)} bytes and has ${bytes.length}`);
}

/**
 * What a manifest means of the content of a chunk; a view.
 * @throws ARCHIVE_DAMAGED (MALFORMED)
 */
export function sliceOf(plain: Buffer, { id, plainBytes, slice }: { readonly id: string; readonly plainBytes: number; readonly slice?: { readonly offset: number } | undefined }): Buffer {
  if (slice === undefined) return plain;
  if (slice.offset + plainBytes > plain.length) throw archiveDamaged(`chunk ${id}`, 'MALFORMED', `has ${plain.length} bytes of content, and a slice ends at ${slice.offset + plainBytes}`);
  return plain.subarray(slice.offset, slice.offset + plainBytes);
}

/** By its own header, if that much is there. */
const announcedBytes = (bytes: Buffer): number => CHUNK_HEADER_BYTES + (bytes.length < CHUNK_HEADER_BYTES ? 0 : bytes.readUInt32LE(AT_BODY_BYTES));

/**
 * What went into the chunk; a view of `bytes` where they are stored as they are.
 * @throws as checkChunk; ARCHIVE_KEY_WRONG; ARCHIVE_DAMAGED (MALFORMED)
 */
export async function decodeChunk(codec: ArchiveCodec, id: string, bytes: Buffer, keys: readonly ArchiveKey[], storedBytes?: number): Promise<DecodedChunk> {
  checkChunk(codec, id, bytes, storedBytes);
  const object = `chunk ${id}`;
  const header = bytes.subarray(0, CHUNK_HEADER_BYTES);
  const kind = header[AT_KIND] === CHUNK_KINDS.ROWS ? 'ROWS' : 'LOG';
  const known = header[AT_KIND] === CHUNK_KINDS[kind] && header[AT_COMPRESSION]! <= ZSTD && header[AT_ENCRYPTION]! <= AES_256_GCM;
  if (!known) throw archiveTooNew(object, `kind ${header[AT_KIND]}, compression ${header[AT_COMPRESSION]}, encryption ${header[AT_ENCRYPTION]}`);
  const plainBytes = header.readUInt32LE(AT_PLAIN_BYTES);
  if (plainBytes > CHUNK_PLAIN_BYTES_MAX) throw archiveDamaged(object, 'MALFORMED', `announces ${plainBytes} bytes of content`);
  let body: Uint8Array = bytes.subarray(CHUNK_HEADER_BYTES);
  if (header[AT_ENCRYPTION] === AES_256_GCM) {
    const key = keyFor(object, header.toString('hex', AT_KEY_ID, AT_NONCE), keys);
    const opened = codec.open(key.encryption, header.subarray(AT_NONCE, AT_NONCE + NONCE_BYTES), header, body);
    if (opened === undefined) throw archiveDamaged(object, 'ALTERED', 'was not sealed with its key');
    body = opened;
  }
  if (header[AT_COMPRESSION] === ZSTD) {
    const plain = await codec.decompress(body, plainBytes);
    if (plain === undefined) throw archiveDamaged(object, 'MALFORMED', `is no zstd frame of ${plainBytes} bytes`);
    body = plain;
  }
  if (body.length !== plainBytes) throw archiveDamaged(object, 'MALFORMED', `announces ${plainBytes} bytes of content and has ${body.length}`);
  return { kind, plain: Buffer.from(body.buffer, body.byteOffset, body.length) };
}

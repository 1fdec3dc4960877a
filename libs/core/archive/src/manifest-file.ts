// A manifest as a file: one line that says how long the JSON behind it is and which digest and seal both have, then the JSON.
//
//   ATOLL-MANIFEST 1.0 <bytes of JSON> <key id or -> <SHA-256> <HMAC-SHA-256 or ->\n
//
// Digest and seal are over the line up to and with the key id, its space included, and the JSON. The line is the same in
// every version to come, so a manifest that was damaged is told apart from one that is too new.
import { MIB } from '@atoll/core-runtime';
import type { ArchiveCodec } from './archive-codec.ts';
import { archiveDamaged, archiveTooNew, keyFor } from './archive-errors.ts';
import type { ArchiveKey } from './archive-key.ts';
import type { Manifest } from './manifest.ts';
import { fromJson, toJson } from './manifest-json.ts';

export const MANIFEST_MAJOR = 1;
/** Grows with fields that a reader may leave unread. */
export const MANIFEST_MINOR = 0;
export const MANIFEST_BYTES_MAX = 256 * MIB;

const LINE = /^(ATOLL-MANIFEST (\d{1,4})\.(\d{1,4}) (\d{1,10}) ([0-9a-f]{16}|-) )([0-9a-f]{64}) ([0-9a-f]{64}|-)$/;
const LINE_BYTES_MAX = 200;
const BEGINNING = 'ATOLL-MANIFEST ';

/** `key` has the id `manifest.keyId`. Throws RangeError where it would be larger than MANIFEST_BYTES_MAX. */
export function encodeManifest(codec: ArchiveCodec, manifest: Manifest, key: ArchiveKey | undefined): Buffer {
  if (key?.id !== manifest.keyId) throw new RangeError(`manifest ${manifest.id} is of key ${manifest.keyId ?? 'none'}, not ${key?.id ?? 'none'}`);
  const json = Buffer.from(`${JSON.stringify(toJson(manifest))}\n`);
  if (json.length > MANIFEST_BYTES_MAX) throw new RangeError(`manifest ${manifest.id} has ${json.length} bytes, at most ${MANIFEST_BYTES_MAX} are allowed`);
  const line = Buffer.from(`${BEGINNING}${MANIFEST_MAJOR}.${MANIFEST_MINOR} ${json.length} ${key?.id ?? '-'} `);
  const digest = codec.sha256([line, json]).toString('hex');
  const seal = key === undefined ? '-' : codec.hmac(key.manifest, [line, json]).toString('hex');
  return Buffer.concat([line, Buffer.from(`${digest} ${seal}\n`), json]);
}

/**
 * Fields that this version does not know are left unread. The seal is looked at where its key is among `keys`: without, a
 * manifest can be listed and its chunks checked, and nothing be restored from it.
 * @throws ARCHIVE_DAMAGED, ARCHIVE_TOO_NEW
 */
export function decodeManifest(codec: ArchiveCodec, id: string, bytes: Buffer, keys: readonly ArchiveKey[]): Manifest {
  const object = `manifest ${id}`;
  const lineEnd = bytes.subarray(0, LINE_BYTES_MAX).indexOf('\n');
  if (lineEnd < 0) {
    const isBeginning = bytes.length < LINE_BYTES_MAX && (bytes.length < BEGINNING.length || bytes.toString('latin1', 0, BEGINNING.length) === BEGINNING);
    throw isBeginning ? archiveDamaged(object, 'TRUNCATED', `ends after ${bytes.length} bytes`) : archiveDamaged(object, 'ALTERED', 'does not begin as a manifest');
  }
  const match = LINE.exec(bytes.toString('latin1', 0, lineEnd));
  if (match === null) throw archiveDamaged(object, 'ALTERED', 'does not begin as a manifest');
  const [, covered, major, minor, length, keyId, digest, seal] = match as unknown as [string, string, string, string, string, string, string, string];
  const json = bytes.subarray(lineEnd + 1);
  if (json.length < Number(length)) throw archiveDamaged(object, 'TRUNCATED', `has ${json.length} of ${length} bytes of JSON`);
  const parts = [Buffer.from(covered), json];
  if (codec.sha256(parts).toString('hex') !== digest) throw archiveDamaged(object, 'ALTERED', 'its bytes are not those that were written');
  if (Number(major) > MANIFEST_MAJOR) throw archiveTooNew(object, `format ${major}.${minor}, this one reads up to ${MANIFEST_MAJOR}`);
  const key = keys.find((one) => one.id === keyId);
  if (key !== undefined && codec.hmac(key.manifest, parts).toString('hex') !== seal) throw archiveDamaged(object, 'ALTERED', 'was not sealed with its key');
  const manifest = fromJson(object, json.toString('utf8'));
  if (manifest.id !== id) throw archiveDamaged(object, 'MALFORMED', `is of the archive ${manifest.id}`);
  if ((manifest.keyId ?? '-') !== keyId) throw archiveDamaged(object, 'MALFORMED', 'names two keys');
  return manifest;
}

/** For whoever is about to restore: the key that the archive needs is there. @throws ARCHIVE_KEY_WRONG */
export function checkKey({ id, keyId }: Pick<Manifest, 'id' | 'keyId'>, keys: readonly ArchiveKey[]): void {
  if (keyId !== undefined) keyFor(`manifest ${id}`, keyId, keys);
}

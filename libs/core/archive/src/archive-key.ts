import type { ArchiveCodec } from './archive-codec.ts';

/** Of the secret, in bytes: it is random, not a passphrase. */
export const ARCHIVE_SECRET_BYTES = 32;

/** What a secret becomes. One key has one purpose. */
export interface ArchiveKey {
  /** 16 hex digits that tell keys apart and say nothing about them: it stands in every chunk and manifest. */
  readonly id: string;
  /** AES-256-GCM. */
  readonly encryption: Uint8Array;
  /** Nonces of chunks, see chunk.ts. */
  readonly nonce: Uint8Array;
  /** Seals of manifests. */
  readonly manifest: Uint8Array;
}

/** Each part is HMAC-SHA-256 of the secret over its label, as in the expand step of HKDF (RFC 5869). */
export function deriveArchiveKey(codec: ArchiveCodec, secret: Uint8Array): ArchiveKey {
  if (secret.length !== ARCHIVE_SECRET_BYTES) throw new RangeError(`a secret has ${ARCHIVE_SECRET_BYTES} bytes, not ${secret.length}`);
  const part = (label: string): Buffer => codec.hmac(secret, [Buffer.from(`atoll archive 1 ${label}`)]);
  return { id: part('key id').toString('hex', 0, 8), encryption: part('encryption'), nonce: part('nonce'), manifest: part('manifest') };
}

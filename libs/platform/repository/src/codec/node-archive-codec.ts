import { createCipheriv, createDecipheriv, createHash, createHmac } from 'node:crypto';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import type { ArchiveCodec } from '@atoll/core-archive';

const CIPHER = 'aes-256-gcm';
const TAG_BYTES = 16;
const OUTPUT_BYTES_MIN = 64;

/** Hashes and ciphers run in the calling thread (over 1 GB/s each); zstd runs in libuv's pool, several chunks side by side. */
export const nodeArchiveCodec: ArchiveCodec = {
  sha256: (parts) => {
    const hash = createHash('sha256');
    for (const part of parts) hash.update(part);
    return hash.digest();
  },
  hmac: (key, parts) => {
    const hmac = createHmac('sha256', key);
    for (const part of parts) hmac.update(part);
    return hmac.digest();
  },
  compress: (bytes, level) =>
    new Promise((resolve, reject) => {
      // Room for all at once: each time the output is full the work goes through the pool again.
      const chunkSize = Math.max(OUTPUT_BYTES_MIN, bytes.length + Math.ceil(bytes.length / 128) + 512);
      const params = { [constants.ZSTD_c_compressionLevel]: level };
      zstdCompress(bytes, { params, chunkSize }, (error, result) => (error === null ? resolve(result) : reject(error)));
    }),
  decompress: (bytes, plainBytes) =>
    new Promise((resolve) => {
      const options = { chunkSize: Math.max(OUTPUT_BYTES_MIN, plainBytes), maxOutputLength: Math.max(1, plainBytes) };
      zstdDecompress(bytes, options, (error, result) => resolve(error === null && result.length === plainBytes ? result : undefined));
    }),
  seal: (key, nonce, header, plain) => {
    const cipher = createCipheriv(CIPHER, key, nonce).setAAD(header);
    return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  },
  open: (key, nonce, header, sealed) => {
    if (sealed.length < TAG_BYTES) return undefined;
    const textBytes = sealed.length - TAG_BYTES;
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES }).setAAD(header).setAuthTag(sealed.subarray(textBytes));
    const text = decipher.update(sealed.subarray(0, textBytes));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return text;
  },
};

import { isUtf8 } from 'node:buffer';

/** Bytes for JSON: `{ text }` when they are UTF-8, else `{ base64 }`, so that nothing is lost. */
export function bytesJson(name: string, bytes: Uint8Array): Record<string, string> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return isUtf8(buffer) ? { [name]: buffer.toString('utf8') } : { [`${name}Base64`]: buffer.toString('base64') };
}

/** A version as `--if-version` takes it back: hexadecimal digits. */
export const versionText = (version: Uint8Array): string => Buffer.from(version.buffer, version.byteOffset, version.byteLength).toString('hex');

/** `never`, or the moment in ISO 8601. */
export const expiryText = (expiresAtMs: number | undefined): string => (expiresAtMs === undefined ? 'never' : new Date(expiresAtMs).toISOString());

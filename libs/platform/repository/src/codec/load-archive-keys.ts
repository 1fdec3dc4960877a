import { readFile } from 'node:fs/promises';
import { ARCHIVE_SECRET_BYTES, deriveArchiveKey, type ArchiveKey } from '@atoll/core-archive';
import { invalidArgument } from '@atoll/core-errors';
import { nodeArchiveCodec } from './node-archive-codec.ts';

export interface ArchiveKeySources {
  /** Secrets as text; empty or undefined for none. */
  readonly text?: string | undefined;
  /** A file of them. */
  readonly file?: string | undefined;
}

const HEX = /^[0-9a-f]{64}$/i;
const BASE64 = /^[A-Za-z0-9+/]{43}=$/;

/**
 * The keys to read archives with; the first one is written with. One secret per line or comma, of 32 random bytes as 64 hex
 * digits or base64 (`openssl rand -hex 32`); lines that begin with # are left out. So a key is changed by a new first line.
 * @throws INVALID_ARGUMENT that names the source and never tells the secret
 */
export async function loadArchiveKeys({ text, file }: ArchiveKeySources): Promise<readonly ArchiveKey[]> {
  if (file !== undefined && file !== '' && text !== undefined && text !== '') throw invalidArgument('key', 'comes from a file and from a setting: one of them has to go');
  if (text !== undefined && text !== '') return parseKeys('key', text);
  if (file === undefined || file === '') return [];
  let content: string;
  try {
    content = await readFile(file, 'utf8');
  } catch (cause) {
    throw invalidArgument('key file', `cannot be read: ${(cause as Error).message}`);
  }
  const keys = parseKeys('key file', content);
  if (keys.length === 0) throw invalidArgument('key file', `${file} has no key`);
  return keys;
}

function parseKeys(source: string, text: string): readonly ArchiveKey[] {
  const words = text
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('#'))
    .flatMap((line) => line.split(','))
    .map((word) => word.trim())
    .filter((word) => word !== '');
  return words.map((word, index) => {
    const secret = HEX.test(word) ? Buffer.from(word, 'hex') : BASE64.test(word) ? Buffer.from(word, 'base64') : undefined;
    if (secret?.length !== ARCHIVE_SECRET_BYTES) throw invalidArgument(source, `secret ${index + 1} must be ${ARCHIVE_SECRET_BYTES} bytes as 64 hex digits or base64`);
    return deriveArchiveKey(nodeArchiveCodec, secret);
  });
}

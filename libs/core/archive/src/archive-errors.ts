import { AtollError } from '@atoll/core-errors';
import type { ArchiveKey } from './archive-key.ts';

/**
 * - MISSING: there is no such object
 * - TRUNCATED: its beginning is as it was written, or may be, and its end is not there
 * - ALTERED: other bytes than were written, a flipped bit among them; or sealed by somebody without the key
 * - MALFORMED: the bytes that were written, which say nothing sensible: a bug of the writer
 */
export type Damage = 'MISSING' | 'TRUNCATED' | 'ALTERED' | 'MALFORMED';

/** `object`: `chunk <id>` or `manifest <archive>`. */
export function archiveDamaged(object: string, damage: Damage, why: string): AtollError {
  return new AtollError('ARCHIVE_DAMAGED', `${object}: ${why}`, { metadata: { object, damage } });
}

/** The key whose id stands in the object. */
export function keyFor(object: string, keyId: string, keys: readonly ArchiveKey[]): ArchiveKey {
  const key = keys.find(({ id }) => id === keyId);
  if (key !== undefined) return key;
  const given = keys.map(({ id }) => id).join(', ');
  const why = given === '' ? 'there is none' : `there ${keys.length === 1 ? 'is' : 'are'} ${given}`;
  throw new AtollError('ARCHIVE_KEY_WRONG', `${object}: needs the key ${keyId}, and ${why}`, { metadata: { object, wanted: keyId, given } });
}

export function archiveTooNew(object: string, what: string): AtollError {
  return new AtollError('ARCHIVE_TOO_NEW', `${object}: was written by a later version of Atoll: ${what}`, { metadata: { object } });
}

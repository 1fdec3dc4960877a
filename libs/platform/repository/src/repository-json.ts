import { archiveDamaged } from '@atoll/core-archive';
import type { z } from 'zod';

export const encodeJson = (value: unknown): Buffer => Buffer.from(`${JSON.stringify(value)}\n`);

/** A small record of the repository. Fields that the schema does not know are left unread. @throws ARCHIVE_DAMAGED that names it */
export function parseRecord<T>(key: string, bytes: Buffer, schema: z.ZodType<T>): T {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw archiveDamaged(key, 'ALTERED', `its ${bytes.length} bytes are no JSON`);
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw archiveDamaged(key, 'MALFORMED', `${issue?.path.join('.')}: ${issue?.message}`);
}

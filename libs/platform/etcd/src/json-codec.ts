import { KIB } from '@atoll/core-runtime';
import type { z } from 'zod';

/** Largest value that is written to etcd, in bytes of UTF-8. */
export const RECORD_BYTES_MAX = 8 * KIB;

/** What became of a value from etcd. A malformed one is reported by its reader and otherwise ignored. */
export type Parsed<T> = { readonly kind: 'parsed'; readonly value: T } | { readonly kind: 'malformed'; readonly problem: string };

/** Fields that the schema does not know are dropped, so that a newer writer may add some. Never throws. */
export function parseJson<T>(schema: z.ZodType<T>, text: string): Parsed<T> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return { kind: 'malformed', problem: 'is not JSON' };
  }
  const result = schema.safeParse(json);
  if (result.success) return { kind: 'parsed', value: result.data };
  const problems = result.error.issues.slice(0, 3).map((issue) => `${issue.path.join('.') || 'value'}: ${issue.message}`);
  return { kind: 'malformed', problem: problems.join('; ') };
}

/** Throws when the value is larger than `bytesMax`: records are bounded by their writers, so that is a bug. */
export function encodeJson(what: string, value: unknown, bytesMax: number = RECORD_BYTES_MAX): string {
  const text = JSON.stringify(value);
  const bytes = Buffer.byteLength(text);
  if (bytes > bytesMax) throw new Error(`${what}: ${bytes} bytes are too many for etcd, at most ${bytesMax} are allowed`);
  return text;
}

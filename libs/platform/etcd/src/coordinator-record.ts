import { z } from 'zod';

import type { CoordinatorRecord } from './cluster-view.ts';
import { encodeJson, parseJson } from './json-codec.ts';
import type { Parsed } from './json-codec.ts';
import type { StoredValue } from './metadata-store.ts';

// Value of an election key: who campaigns. The revision is that of the key itself.

const schema = z.object({ id: z.string().min(1), address: z.string().min(1) });

export const encodeCandidate = (candidate: { id: string; address: string }): string =>
  encodeJson('candidate', { id: candidate.id, address: candidate.address }, 1024);

export function parseCandidate(stored: StoredValue): Parsed<CoordinatorRecord> {
  const parsed = parseJson(schema, stored.value);
  return parsed.kind === 'parsed' ? { kind: 'parsed', value: { ...parsed.value, revision: stored.createRevision } } : parsed;
}

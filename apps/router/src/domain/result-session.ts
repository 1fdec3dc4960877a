import { WireReader, mergeSessions } from '@atoll/platform-wire';
import { bytesField } from './intake.ts';
import { FIELDS } from './operation-fields.ts';
import type { RoutedOperation } from './routed-operation.ts';

const EMPTY: Buffer = Buffer.alloc(0);

/** The `session` field of a response message, as a view; empty when there is none. */
export function sessionIn(body: Buffer, fieldNumber: number): Buffer {
  const wanted = (fieldNumber << 3) | 2;
  const reader = new WireReader(body);
  let session: Buffer = EMPTY;
  while (reader.pos < reader.end) {
    const tag = reader.varint();
    if (tag === wanted) session = reader.bytes();
    else reader.skip(tag);
  }
  return session;
}

/** What is to follow the result's bytes so that its session also holds what the caller's session held. */
export function mergedSessionTail(operation: RoutedOperation, body: Buffer): Buffer {
  if (operation.session.length === 0) return EMPTY;
  const field = FIELDS[operation.kind]!.responseSession;
  const answered = sessionIn(body, field);
  const merged = mergeSessions(operation.session, answered);
  return merged === answered ? EMPTY : bytesField(field, merged);
}

// The messages that carry rows of a partition by the hundred kilobytes: replica sync and archives. Their large fields are read as
// views of the message that came; generated code reads the rest, and copies what it reads. bulk-messages.spec.ts holds both equal.
import { ReadPartitionResponse } from '@atoll/contracts/atoll/v1/archive';
import { FetchSnapshotResponse } from '@atoll/contracts/atoll/v1/transfer';
import { WireReader } from './wire-reader.ts';

/** `rows`, `value_part` and `results`, by their tags. */
const SNAPSHOT_VIEWS = new Map<number, 'rows' | 'valuePart' | 'results'>([[146, 'rows'], [74, 'valuePart'], [98, 'results']]);
const ARCHIVE_VIEWS = new Map<number, 'rows' | 'log'>([[10, 'rows'], [18, 'log']]);

/** Throws MalformedMessage, or the plain Error of generated code. */
export const decodeFetchSnapshotResponse = (bytes: Buffer): FetchSnapshotResponse => decodeWithViews(bytes, SNAPSHOT_VIEWS, (rest) => FetchSnapshotResponse.decode(rest));
/** Throws MalformedMessage, or the plain Error of generated code. */
export const decodeReadPartitionResponse = (bytes: Buffer): ReadPartitionResponse => decodeWithViews(bytes, ARCHIVE_VIEWS, (rest) => ReadPartitionResponse.decode(rest));

function decodeWithViews<Field extends string, Message extends Record<Field, Buffer>>(bytes: Buffer, fields: ReadonlyMap<number, Field>, decode: (rest: Buffer) => Message): Message {
  const reader = new WireReader(bytes);
  const views: Partial<Record<Field, Buffer>> = {};
  const rest: Buffer[] = [];
  while (reader.pos < reader.end) {
    const start = reader.pos;
    const tag = reader.varint();
    const field = fields.get(tag);
    if (field === undefined) {
      reader.skip(tag);
      rest.push(bytes.subarray(start, reader.pos));
    } else {
      views[field] = reader.bytes();
    }
  }
  return Object.assign(decode(Buffer.concat(rest)), views);
}

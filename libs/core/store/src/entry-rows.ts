// Entries one behind the other, as checkpoints, full syncs and archives have them. One message or buffer for a thousand
// entries costs a fraction of what a message for each of them does.
//
//   u32 generation | u32 epoch | u48 seq | f64 expiresAtMs | u16 key bytes, with flags | u32 value bytes | key | value
//
// 2^15 added to the key bytes: the value is apart. 2^14: the key was deleted by that version, and has no value (archives).
import { AtollError } from '@atoll/core-errors';
import { VALUE_BYTES_MAX } from '@atoll/core-runtime';
import { OUTSIDE_VALUE_BYTES_MIN } from './entry-layout.ts';
import type { StoredEntry } from './partition-store.ts';

const HEADER_BYTES = 4 + 4 + 6 + 8 + 2 + 4;
const APART = 2 ** 15;
const DELETED = 2 ** 14;
const TWO_32 = 2 ** 32;

/** An entry, or with `isDeleted` the version that deleted it: then its value is empty and its expiry 0. */
export interface RowSource extends StoredEntry {
  readonly isDeleted?: boolean;
}

/** `isApart`: which values are named by their length alone. */
export function encodeRows(entries: readonly RowSource[], isApart: (value: Buffer) => boolean = () => false): Buffer {
  let size = 0;
  for (const { key, value } of entries) size += HEADER_BYTES + key.length + (isApart(value) ? 0 : value.length);
  const rows = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { key, value, version, expiresAtMs, isDeleted } of entries) {
    const isLeftOut = isApart(value);
    at = rows.writeUInt32LE(version.generation, at);
    at = rows.writeUInt32LE(version.epoch, at);
    at = rows.writeUInt32LE(version.seq % TWO_32, at);
    at = rows.writeUInt16LE(Math.floor(version.seq / TWO_32), at);
    at = rows.writeDoubleLE(expiresAtMs, at);
    at = rows.writeUInt16LE(key.length + (isLeftOut ? APART : 0) + (isDeleted === true ? DELETED : 0), at);
    at = rows.writeUInt32LE(value.length, at);
    rows.set(key, at);
    at += key.length;
    if (isLeftOut) continue;
    rows.set(value, at);
    at += value.length;
  }
  return rows;
}

/** An entry as it stands in rows. Key and value are views of these. */
export interface EntryRow extends StoredEntry {
  /** Its value has its length, and whatever bytes were there before. */
  readonly isApart: boolean;
  readonly isDeleted: boolean;
}

/**
 * Throws INTERNAL when they are no whole rows, or tell of deletes and `mayDelete` does not say that the caller minds them. With
 * `areViews` all values are views of `rows`, for who keeps none of them for long.
 */
export function decodeRows(rows: Buffer, { mayDelete = false, areViews = false }: { readonly mayDelete?: boolean; readonly areViews?: boolean } = {}): EntryRow[] {
  const entries: EntryRow[] = [];
  for (let at = 0; at < rows.length; ) {
    if (at + HEADER_BYTES > rows.length) throw broken('one ends in its header');
    const version = { generation: rows.readUInt32LE(at), epoch: rows.readUInt32LE(at + 4), seq: rows.readUInt32LE(at + 8) + rows.readUInt16LE(at + 12) * TWO_32 };
    const expiresAtMs = rows.readDoubleLE(at + 14);
    const keyWord = rows.readUInt16LE(at + 22);
    const valueBytes = rows.readUInt32LE(at + 24);
    const isApart = (keyWord & APART) !== 0;
    const isDeleted = (keyWord & DELETED) !== 0;
    if (isDeleted && (!mayDelete || isApart || valueBytes > 0)) throw broken('one tells of a delete');
    const keyAt = at + HEADER_BYTES;
    const valueAt = keyAt + (keyWord & (DELETED - 1));
    at = isApart ? valueAt : valueAt + valueBytes;
    if (valueBytes > VALUE_BYTES_MAX || at > rows.length) throw broken(`one announces a value of ${valueBytes} bytes`);
    entries.push({ key: rows.subarray(keyAt, valueAt), value: isApart ? Buffer.allocUnsafeSlow(valueBytes) : areViews ? rows.subarray(valueAt, at) : valueOf(rows, valueAt, at), version, expiresAtMs, isApart, isDeleted });
  }
  return entries;
}

/** Hands key, value and expiry of each row to `take`, as views: for who looks at rows that pass by and keeps none. They are whole rows. */
export function walkRows(rows: Buffer, take: (key: Buffer, value: Buffer, expiresAtMs: number) => void): void {
  for (let at = 0; at < rows.length; ) {
    const keyAt = at + HEADER_BYTES;
    const valueAt = keyAt + (rows.readUInt16LE(at + 22) & (DELETED - 1));
    const expiresAtMs = rows.readDoubleLE(at + 14);
    at = valueAt + rows.readUInt32LE(at + 24);
    take(rows.subarray(keyAt, valueAt), rows.subarray(valueAt, at), expiresAtMs);
  }
}

/** A view of a small part would keep all rows in memory for as long as the store has the value. */
function valueOf(rows: Buffer, from: number, to: number): Buffer {
  const view = rows.subarray(from, to);
  return view.length >= OUTSIDE_VALUE_BYTES_MIN && 2 * view.length < rows.length ? Buffer.from(view) : view;
}

const broken = (why: string): AtollError => new AtollError('INTERNAL', `rows of entries are broken: ${why}`);

/** Keys and values: text is sent as UTF-8. Bytes are not copied; leave them unchanged until the call has ended. */
export type Bytes = string | Uint8Array;

export function toBuffer(bytes: Bytes): Buffer {
  if (typeof bytes === 'string') return Buffer.from(bytes);
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * A value that came in a message shared with others: keeping the view would keep the whole message, so it is
 * copied out unless it makes up most of it.
 */
export function detach(value: Buffer): Buffer {
  return value.length * 2 > value.buffer.byteLength ? value : Buffer.from(value);
}

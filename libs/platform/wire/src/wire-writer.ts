// Writes protobuf wire format into one buffer of the exact size, which the caller computed with the functions
// below: one allocation per message, however many operations it carries.

const TWO_28 = 2 ** 28;

/** Bytes of a varint; `value` is 0 to 2^53 - 1. */
export function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < TWO_28) return 4;
  let bytes = 5;
  for (let rest = Math.floor(value / (TWO_28 * 128)); rest > 0; rest = Math.floor(rest / 128)) bytes += 1;
  return bytes;
}

/** Bytes of a length-delimited field with a one-byte tag. */
export const delimitedBytes = (length: number): number => 1 + varintBytes(length) + length;

/** Bytes of a number field with a one-byte tag; 0 is not written. Negative numbers take ten bytes, as protobuf has it. */
export const numberBytes = (value: number): number => (value === 0 ? 0 : value < 0 ? 11 : 1 + varintBytes(value));

/** A place in a buffer of the exact size. */
export class WireWriter {
  readonly buffer: Buffer;
  pos = 0;

  constructor(bytes: number) {
    this.buffer = Buffer.allocUnsafe(bytes);
  }

  varint(value: number): void {
    const { buffer } = this;
    let rest = value;
    while (rest >= TWO_28) {
      buffer[this.pos++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 0x7f) {
      buffer[this.pos++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[this.pos++] = rest;
  }

  /** A number field; nothing for 0. `tag` is field number * 8, below 128. */
  number(tag: number, value: number): void {
    if (value === 0) return;
    this.buffer[this.pos++] = tag;
    if (value > 0) return this.varint(value);
    // Two's complement of 64 bits, ten bytes.
    let low = value % TWO_28;
    let high = Math.floor(value / TWO_28);
    if (low < 0) low += TWO_28;
    if (high < 0) high += 2 ** 36;
    for (let index = 0; index < 4; index += 1, low >>>= 7) this.buffer[this.pos++] = (low & 0x7f) | 0x80;
    for (let index = 4; index < 9; index += 1, high = Math.floor(high / 128)) this.buffer[this.pos++] = (high % 128) | 0x80;
    this.buffer[this.pos++] = high;
  }

  /** A double field, 9 bytes; nothing for 0. `tag` is field number * 8 + 1, below 128. */
  double(tag: number, value: number): void {
    if (value === 0) return;
    this.buffer[this.pos++] = tag;
    this.pos = this.buffer.writeDoubleLE(value, this.pos);
  }

  /** Tag and length of a field; the caller writes the content. `tag` is field number * 8 + 2, below 128. */
  header(tag: number, length: number): void {
    this.buffer[this.pos++] = tag;
    this.varint(length);
  }

  /** A bytes field; nothing when empty. */
  bytes(tag: number, value: Uint8Array): void {
    if (value.length === 0) return;
    this.header(tag, value.length);
    this.raw(value);
  }

  /** Text of known byte length. */
  text(tag: number, value: string, length: number): void {
    if (length === 0) return;
    this.header(tag, length);
    this.pos += this.buffer.write(value, this.pos, length);
  }

  raw(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.buffer.set(bytes, this.pos);
    this.pos += bytes.length;
  }
}

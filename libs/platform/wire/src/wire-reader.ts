// Reads protobuf wire format (protobuf.dev/programming-guides/encoding) without copying: byte fields come as
// views of the buffer that arrived. The hot messages are read with this; everything else with generated code.

const TWO_32 = 2 ** 32;
const TWO_28 = 2 ** 28;

/** The bytes are no message. Callers answer INVALID_ARGUMENT. */
export class MalformedMessage extends Error {
  override readonly name = 'MalformedMessage';
}

/** A place in a buffer that moves on with each read. Throws MalformedMessage at the end of the bytes. */
export class WireReader {
  readonly buffer: Buffer;
  pos: number;
  readonly end: number;

  constructor(buffer: Buffer, start = 0, end = buffer.length) {
    this.buffer = buffer;
    this.pos = start;
    this.end = end;
  }

  /** An unsigned number of at most 2^53 - 1: field tags, lengths, ids, milliseconds. */
  varint(): number {
    const first = this.pos < this.end ? this.buffer[this.pos]! : this.#truncated();
    if (first < 0x80) {
      this.pos += 1;
      return first;
    }
    const low = this.#low();
    if (this.buffer[this.pos - 1]! < 0x80) return low;
    const value = low + this.#high() * TWO_28;
    if (!Number.isSafeInteger(value)) throw new MalformedMessage('a number is above 2^53 - 1');
    return value;
  }

  /** A signed 64-bit number (int64, int32, enum) that must fit into 53 bits. */
  signed(): number {
    const low = this.#low();
    if (this.buffer[this.pos - 1]! < 0x80) return low;
    const high = this.#high(); // bits 28 to 63
    const value = high >= 2 ** 35 ? (high - 2 ** 36) * TWO_28 + low : high * TWO_28 + low;
    if (!Number.isSafeInteger(value)) throw new MalformedMessage('a number does not fit into 53 bits');
    return value;
  }

  /** A uint32: what a sender writes above 32 bits is cut off, as protobuf asks. */
  uint32(): number {
    const value = this.signed();
    return value >= 0 && value < TWO_32 ? value : ((value % TWO_32) + TWO_32) % TWO_32;
  }

  bool(): boolean {
    return this.signed() !== 0;
  }

  double(): number {
    if (this.pos + 8 > this.end) this.#truncated();
    const value = this.buffer.readDoubleLE(this.pos);
    this.pos += 8;
    return value;
  }

  /** Position just behind a length-delimited field that begins here; `pos` is then at its first byte. */
  delimited(): number {
    const length = this.varint();
    const end = this.pos + length;
    if (end > this.end) this.#truncated();
    return end;
  }

  /** A view of the bytes, not a copy: it keeps the whole buffer alive. */
  bytes(): Buffer {
    const end = this.delimited();
    const view = this.buffer.subarray(this.pos, end);
    this.pos = end;
    return view;
  }

  string(): string {
    const end = this.delimited();
    const text = this.pos === end ? '' : this.buffer.toString('utf8', this.pos, end);
    this.pos = end;
    return text;
  }

  /** Goes past a field that is not known. */
  skip(tag: number): void {
    switch (tag & 7) {
      case 0:
        while (this.pos < this.end) if (this.buffer[this.pos++]! < 0x80) return;
        return void this.#truncated();
      case 1:
        this.pos += 8;
        break;
      case 2:
        this.pos = this.delimited();
        break;
      case 5:
        this.pos += 4;
        break;
      default:
        throw new MalformedMessage(`wire type ${tag & 7} is unknown`);
    }
    if (tag < 8) throw new MalformedMessage('field number 0');
    if (this.pos > this.end) this.#truncated();
  }

  /** The lowest 28 bits of a varint. */
  #low(): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.pos < this.end ? this.buffer[this.pos++]! : this.#truncated();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return value;
  }

  /** The up to 36 bits above them. */
  #high(): number {
    let value = 0;
    let unit = 1;
    for (let index = 4; index < 10; index += 1) {
      const byte = this.pos < this.end ? this.buffer[this.pos++]! : this.#truncated();
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) return value % 2 ** 36;
      unit *= 128;
    }
    throw new MalformedMessage('a number is longer than 10 bytes');
  }

  #truncated(): never {
    throw new MalformedMessage('the message is truncated');
  }
}

/** A value that takes less than this part of its ArrayBuffer is copied, so that it does not hold the rest of it. */
const BACKING_PART_MIN = 0.75;

/** The values too large for a segment, by a number that an entry can hold. */
export class OutsideValues {
  readonly #values: (Buffer | undefined)[] = [];
  readonly #freeNumbers: number[] = [];
  #bytes = 0;

  /** Bytes of all values held. */
  get bytes(): number {
    return this.#bytes;
  }

  add(value: Uint8Array): number {
    const isOwn = value.length >= value.buffer.byteLength * BACKING_PART_MIN;
    const held = isOwn ? Buffer.from(value.buffer, value.byteOffset, value.length) : Buffer.from(value);
    const number = this.#freeNumbers.pop() ?? this.#values.length;
    this.#values[number] = held;
    this.#bytes += held.length;
    return number;
  }

  at(number: number): Buffer {
    return this.#values[number]!;
  }

  remove(number: number): void {
    this.#bytes -= this.#values[number]!.length;
    this.#values[number] = undefined;
    this.#freeNumbers.push(number);
  }
}

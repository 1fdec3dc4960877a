// Which keys each expiry record of the log removed (R23). The record names a range and a watermark, no keys; who
// watches a partition wants to hear of each key, also at the next leader (R36). So every replica keeps the keys for as
// long as the log holds the record, up to a bound; beyond it a watch cannot begin before the records forgotten.

/** Bytes of keys that one replica keeps: an eighth of the log that it keeps by default. */
const BYTES_MAX = 256 * 1024;

interface ExpiryRecord {
  readonly seq: number;
  /** Each key behind its length, u16. */
  readonly packed: Buffer;
}

export class ExpiredKeys {
  readonly #bytesMax: number;
  #records: ExpiryRecord[] = [];
  #bytes = 0;
  #forgottenSeq = 0;

  constructor(bytesMax = BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  /** The keys of expiry records up to this seq are not known (any more). */
  get forgottenSeq(): number {
    return this.#forgottenSeq;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The record of `seq` removed `keys`; of records up to `unneededSeq` nobody will ask. In order of seq. */
  add(seq: number, keys: readonly Uint8Array[], unneededSeq: number): void {
    const packed = pack(keys);
    this.#records.push({ seq, packed });
    this.#bytes += packed.length;
    let dropped = 0;
    for (const record of this.#records) {
      const isUnneeded = record.seq <= unneededSeq;
      if (!isUnneeded && this.#bytes <= this.#bytesMax) break;
      if (!isUnneeded) this.#forgottenSeq = record.seq;
      this.#bytes -= record.packed.length;
      dropped += 1;
    }
    if (dropped > 0) this.#records = this.#records.slice(dropped);
  }

  /** What the record of `seq` removed is not known, for one that was applied to a store that was not whole. */
  forget(seq: number): void {
    this.#forgottenSeq = Math.max(this.#forgottenSeq, seq);
  }

  /** Keys that the expiry record of `seq` removed, `seq` above `forgottenSeq`. */
  keysOf(seq: number): Buffer[] {
    const record = this.#records.find((each) => each.seq === seq);
    return record === undefined ? [] : unpack(record.packed);
  }

  /** The log begins anew. */
  clear(): void {
    this.#records = [];
    this.#bytes = 0;
    this.#forgottenSeq = 0;
  }
}

function pack(keys: readonly Uint8Array[]): Buffer {
  const packed = Buffer.allocUnsafeSlow(keys.reduce((bytes, key) => bytes + 2 + key.length, 0));
  let at = 0;
  for (const key of keys) {
    at = packed.writeUInt16LE(key.length, at);
    packed.set(key, at);
    at += key.length;
  }
  return packed;
}

function unpack(packed: Buffer): Buffer[] {
  const keys: Buffer[] = [];
  for (let at = 0; at < packed.length; ) {
    const end = at + 2 + packed.readUInt16LE(at);
    keys.push(packed.subarray(at + 2, end));
    at = end;
  }
  return keys;
}

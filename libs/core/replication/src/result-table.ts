// What a partition remembers of its latest writes, by op id, so that a write that is sent again is answered instead of
// being done again (R21; RIFL, Lee et al., SOSP 2015). Every replica keeps the table: it is filled by log entries, so a
// new leader knows what the old one answered.
//
// One row per write, in the order of the log, in a ring of typed memory; rows of one bucket are linked, the newest
// first. Nothing on the JavaScript heap grows with the number of rows.
import type { Hash64 } from '@atoll/core-runtime';
import type { LogEntry, OpId } from './log-entry.ts';

export interface ResultTableOptions {
  /** How long a result is kept, in ms of the partition's time (R23). Longer costs 76 bytes per write in it. Default 30,000. */
  readonly windowMs: number;
  /** Results kept at most (I10); beyond it the oldest go before their time. Default 262,144: about 20 MB. */
  readonly countMax: number;
}

export const RESULT_TABLE_DEFAULTS: ResultTableOptions = { windowMs: 30_000, countMax: 262_144 };

/** What became of a write. */
export interface WriteResult {
  readonly effect: 'put' | 'deleted' | 'unchanged';
  /** Of the write's entry. */
  readonly epoch: number;
  readonly seq: number;
  /** Lower half of the key's hash: an op id that comes back for another key was given twice. */
  readonly keyHashLow: number;
  /** PUT: 0 for never. */
  readonly expiresAtMs: number;
  /** PUT: the value where it spells an int64. */
  readonly integer: bigint | undefined;
  /** UNCHANGED: the entry that the condition met. */
  readonly current: { readonly epoch: number; readonly seq: number } | undefined;
}

const EFFECTS = ['put', 'deleted', 'unchanged'] as const;
const EFFECT = { put: 0, delete: 1, unchanged: 2 } as const;
/** Beside the effect in a row's `meta`: the value is an integer. The client id's length stands above. */
const INTEGER_FLAG = 4;
const LENGTH_SHIFT = 3;

/** A row is 9 doubles or 18 words; counter, seq, stamp and expiry are doubles, the rest are words behind them. */
const DOUBLES = 9;
const WORDS = 2 * DOUBLES;
const COUNTER = 0;
const SEQ = 1;
const STAMP = 2;
const EXPIRES = 3;
const CLIENT = 8;
const META = 12;
const KEY_HASH = 13;
const EPOCH = 14;
/** Slot of the next row in the bucket, plus 1; 0 for none. */
const NEXT = 15;
const VALUE_LOW = 16;
const VALUE_HIGH = 17;

const CAPACITY_MIN = 16;

export class ResultTable {
  readonly #options: ResultTableOptions;
  /** A power of two, as is the number of buckets. */
  #capacity = CAPACITY_MIN;
  #doubles = new Float64Array(CAPACITY_MIN * DOUBLES);
  #words = new Uint32Array(this.#doubles.buffer);
  #buckets = new Uint32Array(CAPACITY_MIN);
  /** Rows ever added; row n lies in slot n modulo capacity. */
  #end = 0;
  /** The oldest row that is kept. */
  #begin = 0;
  /** Rows lie behind this seq, but for those that were absorbed. */
  #baseSeq: number;
  /** Seq of the last entry that was looked at. */
  #lastSeq: number;
  /** Of writes that are stamped up to here nothing was ever known; Infinity: it begins with the first entry. */
  #originMs: number;
  #isPartial: boolean;
  /** Stamp of the last row that was dropped. */
  #droppedMs = -Infinity;
  readonly #client = new Uint32Array(4);
  /** Whose client id stands in `#client`, and its hash: a leader looks for an op id and then adds it. */
  #loaded: OpId | undefined;
  #loadedHash = 0;

  /** As `clear`. */
  constructor(options: ResultTableOptions & { readonly seq: number; readonly floorMs: number }) {
    this.#options = options;
    this.#baseSeq = options.seq;
    this.#lastSeq = options.seq;
    this.#originMs = options.floorMs;
    this.#isPartial = options.floorMs === Infinity;
  }

  /** It began amid a log, and what came before is still to be absorbed. */
  get isPartial(): boolean {
    return this.#isPartial;
  }

  get count(): number {
    return this.#end - this.#begin;
  }

  /** Bytes of memory. */
  get bytes(): number {
    return this.#doubles.byteLength + this.#buckets.byteLength;
  }

  /** Whether it has the result of every write that was stamped after this partition time; else only of some. */
  knowsSince(timeMs: number): boolean {
    return timeMs > this.floorMs;
  }

  /** Time up to which results are missing. */
  get floorMs(): number {
    return Math.max(this.#originMs, this.#droppedMs);
  }

  /** Takes in an entry of the log; one that it has seen changes nothing. `hash` is that of the entry's key. */
  add(entry: LogEntry, hash: Hash64 | undefined): void {
    if (entry.seq <= this.#lastSeq) return;
    this.#lastSeq = entry.seq;
    if (this.#originMs === Infinity) this.#originMs = entry.stampMs;
    const { opId, operation, stampMs } = entry;
    // What was written to the source of a copy before its changes came with their op ids is not known here: a repeat of it must not
    // be taken for a first sending (R37).
    if (operation.kind === 'copied' && operation.position.phase === 'ENDED') this.#originMs = Math.max(this.#originMs, operation.position.stampMs > 0 ? operation.position.stampMs : stampMs);
    if (opId === undefined || hash === undefined) return;
    this.#dropOlderThan(stampMs - this.#options.windowMs);
    switch (operation.kind) {
      case 'put': {
        const at = this.#addRow(opId, EFFECT.put, entry, hash.low);
        this.#doubles[(at / WORDS) * DOUBLES + EXPIRES] = operation.expiresAtMs;
        this.#setInteger(at, operation.value);
        return;
      }
      case 'delete':
        this.#addRow(opId, EFFECT.delete, entry, hash.low);
        return;
      case 'unchanged': {
        const at = this.#addRow(opId, EFFECT.unchanged, entry, hash.low);
        this.#doubles[(at / WORDS) * DOUBLES + EXPIRES] = operation.current?.seq ?? 0;
        this.#words[at + VALUE_LOW] = operation.current?.epoch ?? 0;
        return;
      }
      default:
    }
  }

  /** The newest result of this op id. */
  find(opId: OpId): WriteResult | undefined {
    if (this.#end === this.#begin) return undefined;
    const hash = this.#load(opId);
    const words = this.#words;
    const client = this.#client;
    const length = opId.clientId.length;
    for (let link = this.#buckets[hash & (this.#capacity - 1)]!; link !== 0; ) {
      const at = (link - 1) * WORDS;
      if (
        this.#doubles[(link - 1) * DOUBLES + COUNTER] === opId.counter &&
        words[at + CLIENT] === client[0] &&
        words[at + CLIENT + 1] === client[1] &&
        words[at + CLIENT + 2] === client[2] &&
        words[at + CLIENT + 3] === client[3] &&
        words[at + META]! >>> LENGTH_SHIFT === length
      ) {
        return this.#resultAt(link - 1);
      }
      link = words[at + NEXT]!;
    }
    return undefined;
  }

  /** Forgets the results above `seq`: their entries may be cut off the log. */
  truncate(seq: number): void {
    while (this.#end > this.#begin && this.#doubles[this.#slot(this.#end - 1) * DOUBLES + SEQ]! > seq) {
      this.#unlink(this.#slot(this.#end - 1));
      this.#end -= 1;
    }
    this.#lastSeq = Math.min(this.#lastSeq, seq);
  }

  /**
   * Forgets everything; the log goes on behind `seq`. Of writes stamped up to `floorMs` it will know nothing; Infinity:
   * of those before the next entry.
   */
  clear(seq: number, floorMs: number): void {
    this.#begin = 0;
    this.#end = 0;
    this.#resize(CAPACITY_MIN);
    this.#baseSeq = seq;
    this.#lastSeq = seq;
    this.#originMs = floorMs;
    this.#isPartial = floorMs === Infinity;
    this.#droppedMs = -Infinity;
  }

  /** Rows up to `seq`, oldest first, as `absorb` of another replica takes them. */
  encode(seq: number): Buffer {
    let rows = this.count;
    while (rows > 0 && this.#doubles[this.#slot(this.#begin + rows - 1) * DOUBLES + SEQ]! > seq) rows -= 1;
    const bytes = Buffer.allocUnsafe(rows * RESULT_ROW_BYTES);
    for (let row = 0; row < rows; row += 1) {
      const slot = this.#slot(this.#begin + row);
      let at = row * RESULT_ROW_BYTES;
      for (let index = 0; index < 4; index += 1) at = bytes.writeDoubleLE(this.#doubles[slot * DOUBLES + index]!, at);
      for (let index = CLIENT; index < WORDS; index += 1) {
        if (index !== NEXT) at = bytes.writeUInt32LE(this.#words[slot * WORDS + index]!, at);
      }
    }
    return bytes;
  }

  /**
   * Puts the rows of another replica before the own ones; from then on this one knows what the other did. Returns
   * false, with nothing changed, when the other had not applied the entry behind which this table began: what lies
   * between would be known to neither. Throws RangeError when `rows` are no whole rows.
   */
  absorb({ rows, appliedSeq, floorMs }: { readonly rows: Buffer; readonly appliedSeq: number; readonly floorMs: number }): boolean {
    if (rows.length % RESULT_ROW_BYTES !== 0) throw new RangeError(`results of ${rows.length} bytes are cut off`);
    if (appliedSeq < this.#baseSeq) return false;
    const own = this.encode(Infinity);
    const lastSeq = this.#lastSeq;
    const droppedMs = this.#droppedMs;
    this.clear(this.#baseSeq, floorMs);
    this.#droppedMs = droppedMs;
    this.#reserve((rows.length + own.length) / RESULT_ROW_BYTES);
    this.#addEncoded(rows, this.#baseSeq);
    this.#addEncoded(own, Infinity);
    this.#lastSeq = lastSeq;
    this.#isPartial = false;
    return true;
  }

  #addEncoded(bytes: Buffer, seq: number): void {
    for (let start = 0; start < bytes.length; start += RESULT_ROW_BYTES) {
      if (bytes.readDoubleLE(start + 8 * SEQ) > seq) return;
      const slot = this.#nextSlot();
      let at = start;
      for (let index = 0; index < 4; index += 1, at += 8) this.#doubles[slot * DOUBLES + index] = bytes.readDoubleLE(at);
      for (let index = CLIENT; index < WORDS; index += 1) {
        if (index === NEXT) continue;
        this.#words[slot * WORDS + index] = bytes.readUInt32LE(at);
        at += 4;
      }
      this.#link(slot, this.#hashOf(slot));
    }
  }

  /** Returns where the row's words begin. */
  #addRow(opId: OpId, effect: number, entry: LogEntry, keyHashLow: number): number {
    const hash = this.#load(opId);
    const slot = this.#nextSlot();
    const at = slot * WORDS;
    const doubles = this.#doubles;
    doubles[slot * DOUBLES + COUNTER] = opId.counter;
    doubles[slot * DOUBLES + SEQ] = entry.seq;
    doubles[slot * DOUBLES + STAMP] = entry.stampMs;
    doubles[slot * DOUBLES + EXPIRES] = 0;
    const words = this.#words;
    const client = this.#client;
    words[at + CLIENT] = client[0]!;
    words[at + CLIENT + 1] = client[1]!;
    words[at + CLIENT + 2] = client[2]!;
    words[at + CLIENT + 3] = client[3]!;
    words[at + META] = (opId.clientId.length << LENGTH_SHIFT) | effect;
    words[at + KEY_HASH] = keyHashLow;
    words[at + EPOCH] = entry.epoch;
    words[at + VALUE_LOW] = 0;
    words[at + VALUE_HIGH] = 0;
    // Not kept any longer: it may be a view of a whole message.
    this.#loaded = undefined;
    this.#link(slot, hash);
    return at;
  }

  #resultAt(slot: number): WriteResult {
    const at = slot * WORDS;
    const words = this.#words;
    const meta = words[at + META]!;
    const effect = EFFECTS[meta & 3]!;
    const expires = this.#doubles[slot * DOUBLES + EXPIRES]!;
    const isUnchanged = effect === 'unchanged';
    return {
      effect,
      epoch: words[at + EPOCH]!,
      seq: this.#doubles[slot * DOUBLES + SEQ]!,
      keyHashLow: words[at + KEY_HASH]!,
      expiresAtMs: isUnchanged ? 0 : expires,
      integer: (meta & INTEGER_FLAG) === 0 ? undefined : BigInt.asIntN(64, (BigInt(words[at + VALUE_HIGH]!) << 32n) | BigInt(words[at + VALUE_LOW]!)),
      current: isUnchanged && expires > 0 ? { epoch: words[at + VALUE_LOW]!, seq: expires } : undefined,
    };
  }

  /** Notes what an increment answers. Most values are no numbers and are told by their first bytes. */
  #setInteger(at: number, value: Uint8Array): void {
    const { length } = value;
    if (length === 0 || length > 20) return;
    const isNegative = value[0] === 0x2d;
    if (isNegative && length === 1) return;
    let number = 0;
    for (let index = isNegative ? 1 : 0; index < length; index += 1) {
      const digit = value[index]! - 0x30;
      if (digit < 0 || digit > 9) return;
      number = number * 10 + digit;
    }
    if (isNegative) number = -number;
    // Beyond 15 digits a double may round.
    const integer = length <= 15 ? number : BigInt(String.fromCharCode(...value));
    if (typeof integer === 'bigint' && BigInt.asIntN(64, integer) !== integer) return;
    const words = this.#words;
    words[at + META]! |= INTEGER_FLAG;
    words[at + VALUE_LOW] = typeof integer === 'number' ? integer >>> 0 : Number(BigInt.asUintN(32, integer));
    words[at + VALUE_HIGH] = typeof integer === 'number' ? Math.floor(integer / 2 ** 32) >>> 0 : Number(BigInt.asUintN(32, integer >> 32n));
  }

  #dropOlderThan(timeMs: number): void {
    while (this.#end > this.#begin && this.#doubles[this.#slot(this.#begin) * DOUBLES + STAMP]! < timeMs) this.#dropOldest();
    if (this.#capacity > CAPACITY_MIN && this.count < this.#capacity / 8) this.#resize(this.#capacity / 4);
  }

  #dropOldest(): void {
    const slot = this.#slot(this.#begin);
    this.#droppedMs = Math.max(this.#droppedMs, this.#doubles[slot * DOUBLES + STAMP]!);
    this.#unlink(slot);
    this.#begin += 1;
  }

  #nextSlot(): number {
    if (this.count >= this.#options.countMax) this.#dropOldest();
    if (this.count === this.#capacity) this.#resize(this.#capacity * 2);
    const slot = this.#slot(this.#end);
    this.#end += 1;
    return slot;
  }

  #slot(row: number): number {
    return row & (this.#capacity - 1);
  }

  #link(slot: number, hash: number): void {
    const bucket = hash & (this.#capacity - 1);
    this.#words[slot * WORDS + NEXT] = this.#buckets[bucket]!;
    this.#buckets[bucket] = slot + 1;
  }

  #unlink(slot: number): void {
    const words = this.#words;
    const next = words[slot * WORDS + NEXT]!;
    const bucket = this.#hashOf(slot) & (this.#capacity - 1);
    let link = this.#buckets[bucket]!;
    if (link === slot + 1) {
      this.#buckets[bucket] = next;
      return;
    }
    for (;;) {
      const at = (link - 1) * WORDS + NEXT;
      link = words[at]!;
      if (link !== slot + 1) continue;
      words[at] = next;
      return;
    }
  }

  /** Room for so many rows at once, rather than by doubling as they come. */
  #reserve(count: number): void {
    let capacity = this.#capacity;
    while (capacity < Math.min(count, this.#options.countMax)) capacity *= 2;
    if (capacity > this.#capacity) this.#resize(capacity);
  }

  /** Moves all rows, oldest first, into memory of this capacity. */
  #resize(capacity: number): void {
    const { count } = this;
    const words = this.#words;
    const begin = this.#slot(this.#begin) * WORDS;
    this.#capacity = capacity;
    this.#doubles = new Float64Array(capacity * DOUBLES);
    this.#words = new Uint32Array(this.#doubles.buffer);
    this.#buckets = new Uint32Array(capacity);
    // In the ring the rows lie in one run, or in one up to its end and one from its beginning.
    const run = words.subarray(begin, Math.min(begin + count * WORDS, words.length));
    this.#words.set(run);
    this.#words.set(words.subarray(0, count * WORDS - run.length), run.length);
    for (let row = 0; row < count; row += 1) this.#link(row, this.#hashOf(row));
    this.#begin = 0;
    this.#end = count;
  }

  /** Leaves the client id's bytes in `#client` and returns the hash of the op id. */
  #load(opId: OpId): number {
    if (this.#loaded === opId) return this.#loadedHash;
    const { clientId, counter } = opId;
    const client = this.#client;
    const { length } = clientId;
    for (let word = 0, at = 0; word < 4; word += 1, at += 4) {
      client[word] = at + 4 <= length ? wordAt(clientId, at) : lastWord(clientId, at);
    }
    this.#loaded = opId;
    this.#loadedHash = mix(client[0]! ^ client[1]! ^ client[2]! ^ client[3]!, counter);
    return this.#loadedHash;
  }

  #hashOf(slot: number): number {
    const words = this.#words;
    const at = slot * WORDS + CLIENT;
    return mix(words[at]! ^ words[at + 1]! ^ words[at + 2]! ^ words[at + 3]!, this.#doubles[slot * DOUBLES + COUNTER]!);
  }
}

/** Of an encoded row: four doubles and nine words. */
export const RESULT_ROW_BYTES = 4 * 8 + (WORDS - CLIENT - 1) * 4;

const wordAt = (bytes: Uint8Array, at: number): number => bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);

/** Of up to three bytes, or none. */
function lastWord(bytes: Uint8Array, from: number): number {
  let word = 0;
  for (let at = bytes.length - 1; at >= from; at -= 1) word = (word << 8) | bytes[at]!;
  return word;
}

/** Counters of one client go up by one: they spread over the buckets as they are; clients are random. */
function mix(client: number, counter: number): number {
  const hash = Math.imul(client ^ (client >>> 16), 0x85ebca6b) + counter;
  return (hash ^ (hash / 2 ** 32)) >>> 0;
}

// The tail of one partition's log in memory: encoded entries in chunks, from behind `base` to `end`. Entries lie
// where they were encoded; what followers are sent is a view of it, without a copy or an object per entry.
import { KIB } from '@atoll/core-runtime';
import { decodeEntry, encodeEntry, encodedBytes, entryBytesAt, entryPositionAt, type LogEntry } from './log-entry.ts';
import type { LogPosition } from './messages.ts';

interface Chunk {
  readonly firstSeq: number;
  readonly buffer: Buffer;
  used: number;
  /** Where each entry begins; entry i has seq firstSeq + i. */
  readonly offsets: number[];
}

export interface LogRun {
  /** Position of the entry before the run. */
  readonly prev: LogPosition;
  readonly count: number;
  /** A view: valid until the log is next changed. */
  readonly bytes: Buffer;
}

const CHUNK_BYTES_MIN = 4 * KIB;
const CHUNK_BYTES_MAX = 256 * KIB;

export class ReplicaLog {
  readonly #chunks: Chunk[] = [];
  /** Where each epoch that the log knows begins, ascending. The first one covers `base`. */
  #epochs: { epoch: number; startSeq: number }[] = [];
  #base: LogPosition;
  #end: LogPosition;
  #bytes = 0;

  constructor(base: LogPosition = { epoch: 0, seq: 0 }) {
    this.#base = base;
    this.#end = base;
    this.#epochs = [{ epoch: base.epoch, startSeq: base.seq }];
  }

  /** Position before the first entry that is kept. */
  get base(): LogPosition {
    return this.#base;
  }

  get end(): LogPosition {
    return this.#end;
  }

  /** Memory held by chunks. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Appends the leader's own entry: seq is end + 1 (R4). Returns its encoded size. */
  append(entry: LogEntry): number {
    this.#assertNext(entry.epoch, entry.seq);
    const bytes = encodedBytes(entry);
    const chunk = this.#roomFor(bytes);
    chunk.offsets.push(chunk.used);
    chunk.used = encodeEntry(entry, chunk.buffer, chunk.used);
    this.#advance(entry.epoch, entry.seq);
    return bytes;
  }

  /**
   * Appends encoded entries in order. Returns how many; throws RangeError, with nothing appended, when the bytes
   * are no whole entries that go on from `end` without a gap (I4).
   */
  appendEncoded(bytes: Buffer): number {
    const starts: number[] = [];
    let { epoch, seq } = this.#end;
    for (let at = 0; at < bytes.length; at += entryBytesAt(bytes, at)) {
      if (at + 4 > bytes.length || at + entryBytesAt(bytes, at) > bytes.length) throw new RangeError('log entries are cut off');
      const position = entryPositionAt(bytes, at);
      if (position.seq !== seq + 1 || position.epoch < epoch) {
        throw new RangeError(`log entry (${position.epoch},${position.seq}) does not follow (${epoch},${seq})`);
      }
      ({ epoch, seq } = position);
      starts.push(at);
    }
    starts.forEach((at, index) => {
      const end = starts[index + 1] ?? bytes.length;
      const chunk = this.#roomFor(end - at);
      chunk.offsets.push(chunk.used);
      chunk.used += bytes.copy(chunk.buffer, chunk.used, at, end);
      const position = entryPositionAt(bytes, at);
      this.#advance(position.epoch, position.seq);
    });
    return starts.length;
  }

  /** The entry of `seq`, which lies in (base, end]. Keys and values are views, valid until the log is next changed. */
  entryAt(seq: number): LogEntry {
    const chunk = this.#chunkOf(seq);
    return decodeEntry(chunk.buffer, chunk.offsets[seq - chunk.firstSeq]!);
  }

  entryBytes(seq: number): number {
    const chunk = this.#chunkOf(seq);
    return entryBytesAt(chunk.buffer, chunk.offsets[seq - chunk.firstSeq]!);
  }

  positionAt(seq: number): LogPosition {
    if (seq === this.#end.seq) return this.#end;
    if (seq === this.#base.seq) return this.#base;
    const chunk = this.#chunkOf(seq);
    return entryPositionAt(chunk.buffer, chunk.offsets[seq - chunk.firstSeq]!);
  }

  /**
   * Whether the entry of this position is in the log, or was: below `base` that is not known any more, and answered
   * with yes. The seq alone does not tell, since another epoch may have put another entry there.
   */
  holds(position: LogPosition): boolean {
    if (position.seq < this.#base.seq) return true;
    return position.seq <= this.#end.seq && this.positionAt(position.seq).epoch === position.epoch;
  }

  /** Entries from `fromSeq` on that lie side by side: at least one, and no more than fit into `bytesMax`. */
  run(fromSeq: number, bytesMax: number): LogRun {
    const chunk = this.#chunkOf(fromSeq);
    const first = fromSeq - chunk.firstSeq;
    const start = chunk.offsets[first]!;
    let next = first + 1;
    if (chunk.used - start <= bytesMax) next = chunk.offsets.length;
    else while (next < chunk.offsets.length && (chunk.offsets[next + 1] ?? chunk.used) - start <= bytesMax) next += 1;
    const end = chunk.offsets[next] ?? chunk.used;
    return { prev: this.positionAt(fromSeq - 1), count: next - first, bytes: chunk.buffer.subarray(start, end) };
  }

  /**
   * The largest epoch not above `epoch` that the log knows, and the end of it (R28, KIP-101 and KIP-279).
   * Undefined when all that it knows is above.
   */
  epochEnd(epoch: number): LogPosition | undefined {
    for (let index = this.#epochs.length - 1; index >= 0; index -= 1) {
      const known = this.#epochs[index]!;
      if (known.epoch > epoch) continue;
      const following = this.#epochs[index + 1];
      return { epoch: known.epoch, seq: following === undefined ? this.#end.seq : following.startSeq - 1 };
    }
    return undefined;
  }

  /** Drops every entry above `seq`, which is not below base. */
  truncate(seq: number): void {
    if (seq >= this.#end.seq) return;
    if (seq < this.#base.seq) throw new RangeError(`cannot truncate to ${seq}: the log begins behind ${this.#base.seq}`);
    const end = this.positionAt(seq);
    while (this.#chunks.length > 0) {
      const chunk = this.#chunks.at(-1)!;
      if (chunk.firstSeq <= seq) {
        const kept = seq - chunk.firstSeq + 1;
        chunk.used = chunk.offsets[kept] ?? chunk.used;
        chunk.offsets.length = Math.min(kept, chunk.offsets.length);
        break;
      }
      this.#bytes -= chunk.buffer.length;
      this.#chunks.pop();
    }
    this.#end = end;
    this.#epochs = this.#epochs.filter((known, index) => index === 0 || known.startSeq <= seq);
  }

  /** Forgets everything and goes on behind `base`. */
  reset(base: LogPosition): void {
    this.#chunks.length = 0;
    this.#bytes = 0;
    this.#base = base;
    this.#end = base;
    this.#epochs = [{ epoch: base.epoch, startSeq: base.seq }];
  }

  /** Gives back whole chunks whose entries are all at or below `seq`, oldest first, while more than `bytesMax` are held. */
  trim(seq: number, bytesMax: number): void {
    while (this.#bytes > bytesMax && this.#chunks.length > 0) {
      const chunk = this.#chunks[0]!;
      const lastSeq = chunk.firstSeq + chunk.offsets.length - 1;
      if (lastSeq > seq) return;
      const base = this.positionAt(lastSeq);
      this.#chunks.shift();
      this.#bytes -= chunk.buffer.length;
      this.#base = base;
      const covering = this.#epochs.findLastIndex((known) => known.startSeq <= base.seq);
      this.#epochs = this.#epochs.slice(Math.max(0, covering));
    }
  }

  #roomFor(bytes: number): Chunk {
    const last = this.#chunks.at(-1);
    if (last !== undefined && last.buffer.length - last.used >= bytes) return last;
    const grown = Math.min((last?.buffer.length ?? CHUNK_BYTES_MIN / 2) * 2, CHUNK_BYTES_MAX);
    const chunk: Chunk = {
      firstSeq: this.#end.seq + 1,
      buffer: Buffer.allocUnsafeSlow(Math.max(grown, bytes)),
      used: 0,
      offsets: [],
    };
    this.#chunks.push(chunk);
    this.#bytes += chunk.buffer.length;
    return chunk;
  }

  #advance(epoch: number, seq: number): void {
    if (epoch !== this.#end.epoch) this.#epochs.push({ epoch, startSeq: seq });
    this.#end = { epoch, seq };
  }

  #assertNext(epoch: number, seq: number): void {
    if (seq !== this.#end.seq + 1 || epoch < this.#end.epoch) {
      throw new Error(`log entry (${epoch},${seq}) does not follow (${this.#end.epoch},${this.#end.seq}) (I4)`);
    }
  }

  #chunkOf(seq: number): Chunk {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#chunks[middle]!.firstSeq <= seq) low = middle;
      else high = middle - 1;
    }
    const chunk = this.#chunks[low];
    if (chunk === undefined || seq < chunk.firstSeq || seq >= chunk.firstSeq + chunk.offsets.length) {
      throw new RangeError(`log entry ${seq} is not held: the log has (${this.#base.seq}, ${this.#end.seq}]`);
    }
    return chunk;
  }
}

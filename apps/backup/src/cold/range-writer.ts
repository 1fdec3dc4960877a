// Puts what is read of one partition into chunks: rows and log apart, each chunk when about 4 MiB have come together. A place counts as
// saved when everything up to it is in chunks; that is where another process goes on.
import { CHUNK_PLAIN_BYTES, ContentTally, encodeChunk, type ArchiveCodec, type ChunkKind, type ChunkRef, type ChunkSettings, type ContentDigest, type EncodedChunk } from '@atoll/core-archive';
import type { ArchivePlace, ReadPartitionResponse } from '@atoll/contracts/atoll/v1/archive';
import { compactLog, summarizeRun } from '@atoll/core-replication';
import { MIB, keyHash, type Hash64 } from '@atoll/core-runtime';
import { encodeRows, walkRows } from '@atoll/core-store';

/** Log of an increment that is made one: so much of it is kept in memory. */
const WINDOW_BYTES = 16 * MIB;
const ROW_HEADER_BYTES = 28;

/** What of a range is in chunks. */
export interface SavedRange {
  readonly place: ArchivePlace;
  readonly rows: readonly ChunkRef[];
  readonly log: readonly ChunkRef[];
  readonly contentBytes: number;
  readonly entries: number;
  readonly firstMs: number;
  /** Undefined: something was written while rows were read. */
  readonly digest?: ContentDigest | undefined;
  /** `log` are windows of an increment. */
  readonly isIncrement: boolean;
}

export interface RangeWriterOptions {
  readonly codec: ArchiveCodec;
  /** As `Session.putChunk`, as often as it takes. */
  readonly put: (chunk: EncodedChunk) => Promise<boolean>;
  readonly chunks: ChunkSettings;
  /** Whether the log is compacted: of ranges that go on from a parent. */
  readonly isIncrement: boolean;
  /** Told of bytes that had to be written. */
  readonly onWritten: (bytes: number) => void;
}

export class RangeWriter {
  readonly #options: RangeWriterOptions;
  #place: ArchivePlace | undefined;
  #rows: { bytes: Buffer[]; size: number; entries: number; first: Hash64 | undefined; last: Hash64 | undefined } = noRows();
  #log = noLog();
  #rowChunks: ChunkRef[] = [];
  #logChunks: ChunkRef[] = [];
  #tally: ContentTally | undefined = new ContentTally();
  #isIncrement: boolean;
  contentBytes = 0;
  entries = 0;
  #firstMs = 0;

  constructor(options: RangeWriterOptions) {
    this.#options = options;
    this.#isIncrement = options.isIncrement;
  }

  /** Up to where everything was taken; undefined: nothing yet. */
  get place(): ArchivePlace | undefined {
    return this.#place;
  }

  /** In memory. */
  get pendingBytes(): number {
    return this.#rows.size + this.#log.size;
  }

  get chunks(): readonly ChunkRef[] {
    return [...this.#rowChunks, ...this.#logChunks];
  }

  get firstMs(): number {
    return this.#firstMs;
  }

  /** Of the content; undefined where it is not known. */
  get digest(): ContentDigest | undefined {
    return this.#tally;
  }

  /** Everything begins anew. `place`: of a parent, behind which the log is read; undefined: with rows. */
  restart(place: ArchivePlace | undefined): void {
    this.#place = place;
    this.#isIncrement = place !== undefined;
    this.#rows = noRows();
    this.#log = noLog();
    this.#rowChunks = [];
    this.#logChunks = [];
    this.#tally = this.#isIncrement ? undefined : new ContentTally();
    this.contentBytes = 0;
    this.entries = 0;
    this.#firstMs = 0;
  }

  /** Goes on from what an earlier process saved. */
  adopt({ place, rows, log, contentBytes, entries, firstMs, digest, isIncrement }: SavedRange): void {
    this.restart(place);
    this.#isIncrement = isIncrement;
    this.#rowChunks = [...rows];
    this.#logChunks = [...log];
    this.contentBytes = contentBytes;
    this.entries = entries;
    this.#firstMs = firstMs;
    this.#tally = undefined;
    if (digest === undefined) return;
    this.#tally = new ContentTally();
    this.#tally.addAll(digest);
  }

  /** Rows and log of one message. Answers keys and values in it. */
  async take({ rows, log, entries, place, stampMs }: ReadPartitionResponse): Promise<number> {
    let bytes = 0;
    if (rows.length > 0) {
      bytes = this.#takeRows(rows, entries);
      if (this.#rows.size >= CHUNK_PLAIN_BYTES) await this.#putRows();
    }
    if (log.length > 0) {
      bytes = log.length;
      this.#log.runs.push(log);
      this.#log.size += log.length;
      if (!this.#log.isChanging && summarizeRun(log).isChanging) {
        this.#log.isChanging = true;
        this.#tally = undefined;
      }
      if (this.#log.size >= (this.#isIncrement ? WINDOW_BYTES : CHUNK_PLAIN_BYTES)) await this.#putLog();
    }
    this.#place = place;
    this.#firstMs ||= stampMs;
    return bytes;
  }

  /** Everything that was taken is in chunks then. */
  async flush(): Promise<SavedRange | undefined> {
    await this.#putRows();
    await this.#putLog();
    if (this.#place === undefined) return undefined;
    const { entries, contentBytes } = this;
    const digest = this.#tally && { entries: this.#tally.entries, sum: { ...this.#tally.sum } };
    return { place: this.#place, rows: this.#rowChunks, log: this.#logChunks, contentBytes, entries, firstMs: this.#firstMs, digest, isIncrement: this.#isIncrement };
  }

  #takeRows(rows: Buffer, count: number): number {
    const content = rows.length - count * ROW_HEADER_BYTES;
    const tally = this.#tally;
    let first: Buffer | undefined;
    let last: Buffer | undefined;
    walkRows(rows, (key, value, expiresAtMs) => {
      first ??= key;
      last = key;
      tally?.add(keyHash(key), value, expiresAtMs);
    });
    this.#rows.first ??= keyHash(first!);
    this.#rows.last = keyHash(last!);
    this.#rows.bytes.push(rows);
    this.#rows.size += rows.length;
    this.#rows.entries += count;
    this.entries += count;
    this.contentBytes += content;
    return content;
  }

  async #putRows(): Promise<void> {
    const { bytes, entries, first, last, size } = this.#rows;
    if (size === 0) return;
    this.#rows = noRows();
    this.#rowChunks.push(await this.#put('ROWS', Buffer.concat(bytes), { entries, deletes: 0, hashes: { first: first!, last: last! } }));
  }

  async #putLog(): Promise<void> {
    const { runs, size, isChanging } = this.#log;
    if (size === 0) return;
    this.#log = noLog();
    // Markers and the like: nobody who restores needs them.
    if (!isChanging) return;
    if (this.#isIncrement) return this.#putWindow(runs);
    this.contentBytes += size;
    const plain = Buffer.concat(runs);
    const { entries, firstSeq, lastSeq, firstMs, lastMs } = summarizeRun(plain);
    this.entries += entries;
    this.#logChunks.push(await this.#put('LOG', plain, { entries, deletes: 0, log: { firstSeq, lastSeq, firstMs, lastMs } }));
  }

  /** Expiry records first, then rows, as compact-log.ts says. */
  async #putWindow(runs: readonly Buffer[]): Promise<void> {
    const window = compactLog(runs, this.#place!.generation!.counter);
    if (window.expiries.length > 0) {
      const plain = Buffer.concat(window.expiries);
      const { entries, firstSeq, lastSeq, firstMs, lastMs } = summarizeRun(plain);
      this.#logChunks.push(await this.#put('LOG', plain, { entries, deletes: 0, log: { firstSeq, lastSeq, firstMs, lastMs } }));
    }
    let from = 0;
    while (from < window.rows.length) {
      let to = from;
      for (let size = 0; to < window.rows.length && size < CHUNK_PLAIN_BYTES; to += 1) size += ROW_HEADER_BYTES + window.rows[to]!.key.length + window.rows[to]!.value.length;
      const rows = window.rows.slice(from, to);
      const deletes = rows.reduce((sum, { isDeleted }) => sum + (isDeleted === true ? 1 : 0), 0);
      this.entries += rows.length - deletes;
      this.contentBytes += rows.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
      this.#logChunks.push(await this.#put('ROWS', encodeRows(rows), { entries: rows.length - deletes, deletes, hashes: { first: rows[0]!.hash, last: rows.at(-1)!.hash } }));
      from = to;
    }
  }

  async #put(kind: ChunkKind, plain: Buffer, about: Pick<ChunkRef, 'entries' | 'deletes' | 'hashes' | 'log'>): Promise<ChunkRef> {
    const { codec, put, chunks, onWritten } = this.#options;
    const encoded = await encodeChunk(codec, kind, plain, chunks);
    if (await put(encoded)) onWritten(encoded.bytes.length);
    return { id: encoded.id, kind, storedBytes: encoded.bytes.length, plainBytes: plain.length, ...about };
  }
}

const noLog = () => ({ runs: [] as Buffer[], size: 0, isChanging: false });
const noRows = () => ({ bytes: [] as Buffer[], size: 0, entries: 0, first: undefined as Hash64 | undefined, last: undefined as Hash64 | undefined });

// What one partition held at the moment that a plan leads to, in the order of its key hashes (R32), in bounded memory.
//
// The first rows of a chain come in that order and are read through. What the chunks behind them say of a key replaces its row:
// it is gathered for an interval of hashes at a time, as large as the bound on memory allows, and each interval reads those
// chunks anew. Where a chain is one FULL that nobody wrote to while it was read there is one interval, and each chunk is read once.
//
//   rows       a     c   e |   h  k       FULL, as they were read
//   behind       b   -c    |   k'         log up to the cut, increments, logs
//   folded     a b       e |   h  k'
//
// Everything comes again in the same order from whatever hash on, so a reader goes on where it was by the next hash alone.
import { compareHash, keyHash, type Hash64 } from '@atoll/core-runtime';
import { FIRST_HASH, decodeRows, type EntryRow, type EntryVersion } from '@atoll/core-store';
import type { RestoreSource, RestoreStep } from '../restore-plan.ts';
import { ChangeOverlay, isWithin, malformed, type ChangedKey, type HashInterval } from './change-overlay.ts';

export interface FoldedEntry {
  readonly key: Buffer;
  readonly hash: Hash64;
  readonly value: Buffer;
  /** 0: never. */
  readonly expiresAtMs: number;
  readonly version: EntryVersion;
}

/** All entries from the end of the slice before it up to `next`. */
export interface FoldedSlice {
  /** Views of chunks: valid for as long as they are kept. */
  readonly entries: readonly FoldedEntry[];
  /** Undefined at the end. */
  readonly next: Hash64 | undefined;
}

export interface FoldOptions {
  readonly source: RestoreSource;
  /** Content of a chunk; `next` is the one that will be asked for behind it. */
  readonly read: (step: RestoreStep, next: RestoreStep | undefined) => Promise<Buffer>;
  readonly belongs: (key: Uint8Array) => boolean;
  /** First hash that is wanted; default all. */
  readonly from?: Hash64 | undefined;
  /** What chunks behind the first rows may take in memory. */
  readonly overlayBytesMax: number;
  /** A slice ends behind the entry that reaches one of these. */
  readonly slice: { readonly entriesMax: number; readonly bytesMax: number };
}

/** @throws ARCHIVE_DAMAGED (MALFORMED), and as `read` */
export async function* foldPartition(options: FoldOptions): AsyncGenerator<FoldedSlice, void, undefined> {
  const { source, from = FIRST_HASH, overlayBytesMax } = options;
  const { rows, behind } = partsOf(source.steps);
  let interval: HashInterval = { from, to: undefined };
  for (;;) {
    const overlay = await gather(options, behind, interval);
    yield* merge(options, rows, overlay);
    const { from: begin, to } = overlay.interval;
    if (to === undefined) return;
    const isSparse = overlay.bytes < overlayBytesMax / 2;
    const high = to.high + (to.high - begin.high) * (isSparse ? 2 : 1);
    interval = { from: to, to: high >= 2 ** 32 ? undefined : { high, low: 0 } };
  }
}

/** The rows at the beginning that come in the order of their hashes, each hash once; and what is behind them. */
function partsOf(steps: readonly RestoreStep[]): { readonly rows: readonly RestoreStep[]; readonly behind: readonly RestoreStep[] } {
  let end = 0;
  for (let last: Hash64 | undefined; end < steps.length; end += 1) {
    const { chunk, archive } = steps[end]!;
    if (chunk.kind !== 'ROWS' || chunk.hashes === undefined || archive !== steps[0]!.archive) break;
    if (last !== undefined && compareHash(chunk.hashes.first, last) <= 0) break;
    last = chunk.hashes.last;
  }
  return { rows: steps.slice(0, end), behind: steps.slice(end) };
}

const touches = ({ from, to }: HashInterval, { chunk: { hashes } }: RestoreStep): boolean =>
  hashes === undefined || (compareHash(hashes.last, from) >= 0 && (to === undefined || compareHash(hashes.first, to) < 0));

async function gather({ source, read, belongs, overlayBytesMax }: FoldOptions, behind: readonly RestoreStep[], interval: HashInterval): Promise<ChangeOverlay> {
  const overlay = new ChangeOverlay({ interval, bytesMax: overlayBytesMax, belongs, generation: source.generation });
  for (const [index, step] of behind.entries()) {
    if (touches(overlay.interval, step)) overlay.apply(step, await read(step, behind[index + 1]), source.upTo);
  }
  return overlay;
}

async function* merge(options: FoldOptions, rows: readonly RestoreStep[], overlay: ChangeOverlay): AsyncGenerator<FoldedSlice, void, undefined> {
  const { interval } = overlay;
  const slices = new SliceMaker(options.slice);
  const changed = overlay.present();
  let at = 0;
  const wanted = rows.filter((step) => touches(interval, step));
  for (const [index, step] of wanted.entries()) {
    for (const row of rowsOf(step, await options.read(step, wanted[index + 1]))) {
      const hash = keyHash(row.key);
      if (!isWithin(interval, hash) || !options.belongs(row.key)) continue;
      for (; at < changed.length && compareHash(changed[at]!.hash, hash) < 0; at += 1) {
        const full = overlay.isOutdated(changed[at]!) ? undefined : slices.add(entryOf(changed[at]!));
        if (full !== undefined) yield full;
      }
      if (overlay.hides(row.key, hash, row)) continue;
      const full = slices.add({ key: viewOf(row.key), hash, value: viewOf(row.value), expiresAtMs: row.expiresAtMs, version: row.version });
      if (full !== undefined) yield full;
    }
  }
  for (; at < changed.length; at += 1) {
    const full = overlay.isOutdated(changed[at]!) ? undefined : slices.add(entryOf(changed[at]!));
    if (full !== undefined) yield full;
  }
  yield slices.end(interval.to);
}

const entryOf = ({ key, hash, value, expiresAtMs, version }: ChangedKey): FoldedEntry => ({ key, hash, value: value!, expiresAtMs, version });
const viewOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function rowsOf(step: RestoreStep, plain: Buffer): readonly EntryRow[] {
  try {
    return decodeRows(plain, { areViews: true });
  } catch (error) {
    throw malformed(step, error);
  }
}

/** Cuts what comes in the order of hashes into slices, never between entries of one hash. */
class SliceMaker {
  readonly #limits: FoldOptions['slice'];
  #entries: FoldedEntry[] = [];
  #bytes = 0;

  constructor(limits: FoldOptions['slice']) {
    this.#limits = limits;
  }

  /** The slice that ends before the entry; undefined while it goes on. */
  add(entry: FoldedEntry): FoldedSlice | undefined {
    const last = this.#entries.at(-1);
    const isFull = this.#entries.length >= this.#limits.entriesMax || this.#bytes >= this.#limits.bytesMax;
    const full = isFull && last !== undefined && compareHash(last.hash, entry.hash) !== 0 ? this.end(entry.hash) : undefined;
    this.#entries.push(entry);
    this.#bytes += entry.key.length + entry.value.length;
    return full;
  }

  end(next: Hash64 | undefined): FoldedSlice {
    const slice = { entries: this.#entries, next };
    this.#entries = [];
    this.#bytes = 0;
    return slice;
  }
}

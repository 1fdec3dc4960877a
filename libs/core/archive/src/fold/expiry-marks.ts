import { compareHash, type Hash64 } from '@atoll/core-runtime';

/** An EXPIRE entry: entries of [from, to) whose expiry is above 0 and not above the watermark are gone. */
export interface ExpiryMark {
  readonly from: Hash64;
  /** Undefined: to the end. */
  readonly to: Hash64 | undefined;
  readonly watermarkMs: number;
}

type OrderedMark = ExpiryMark & { readonly order: number };

/** Marks that are kept as they came, at least. */
const JOIN_MARKS = 256;

interface Segment {
  readonly from: Hash64;
  /** Undefined where no mark covers it. */
  readonly mark: { readonly order: number; readonly watermarkMs: number } | undefined;
}

/**
 * The expiries of a log, asked after by key. Watermarks of one log never fall, so of all marks that cover a hash the latest says
 * what those before it say: one mark for each segment between two ends of marks is enough.
 */
export class ExpiryMarks {
  #marks: OrderedMark[] = [];
  #segments: readonly Segment[] | undefined;
  #joinAt = JOIN_MARKS;

  /** `order`: the seq of its entry. */
  add(mark: ExpiryMark, order: number): void {
    this.#marks.push({ ...mark, order });
    this.#segments = undefined;
    if (this.#marks.length < this.#joinAt) return;
    // What later marks have covered is forgotten: a log of days has many that say the same.
    const segments = segmentsOf(this.#marks);
    this.#marks = segments.flatMap(({ from, mark: latest }, index) => (latest === undefined ? [] : [{ from, to: segments[index + 1]?.from, ...latest }]));
    this.#joinAt = Math.max(JOIN_MARKS, 2 * this.#marks.length);
  }

  /** Whether an entry that came to be at the seq `order` is gone by a later mark. */
  removes(hash: Hash64, expiresAtMs: number, order: number): boolean {
    if (expiresAtMs <= 0 || this.#marks.length === 0) return false;
    const mark = this.#segmentOf(hash)?.mark;
    return mark !== undefined && mark.order > order && expiresAtMs <= mark.watermarkMs;
  }

  #segmentOf(hash: Hash64): Segment | undefined {
    this.#segments ??= segmentsOf(this.#marks);
    let low = 0;
    let high = this.#segments.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareHash(this.#segments[middle]!.from, hash) <= 0) low = middle + 1;
      else high = middle;
    }
    return this.#segments[low - 1];
  }
}

/** Painted from the latest mark to the first: what is painted stays, and is skipped by a pointer to what is not. */
function segmentsOf(marks: readonly OrderedMark[]): readonly Segment[] {
  const edges = marks.flatMap(({ from, to }) => (to === undefined ? [from] : [from, to])).sort(compareHash);
  const starts = edges.filter((edge, index) => index === 0 || compareHash(edge, edges[index - 1]!) !== 0);
  const painted: Segment['mark'][] = starts.map(() => undefined);
  const next = Array.from({ length: starts.length + 1 }, (_, index) => index);
  const unpaintedFrom = (index: number): number => {
    let at = index;
    while (next[at] !== at) at = next[at] = next[next[at]!]!;
    return at;
  };
  for (const { from, to, order, watermarkMs } of [...marks].sort((a, b) => b.order - a.order)) {
    const end = to === undefined ? starts.length : indexOf(starts, to);
    for (let at = unpaintedFrom(indexOf(starts, from)); at < end; at = unpaintedFrom(at)) {
      painted[at] = { order, watermarkMs };
      next[at] = at + 1;
    }
  }
  return starts.map((from, index) => ({ from, mark: painted[index] }));
}

function indexOf(sorted: readonly Hash64[], hash: Hash64): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareHash(sorted[middle]!, hash) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

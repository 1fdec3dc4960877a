// The highest fencing tokens that a partition has seen (R38, I9). Tokens are revisions of etcd, so of two locks that
// cannot be held at a time the one with the higher token was granted after the other had ended:
//
//   1. A holds tokens [0, 100) under fencing token 10, pauses, and its lease ends
//   2. B gets [50, 150) under 20 and writes
//   3. A wakes up and writes a key at 60 under 10: the table knows 20 for a range that overlaps A's, and refuses
//
// Shared locks are held side by side, so a shared token is outdated only by a later exclusive one, an exclusive token by
// any later one. Everything here only grows, whatever the order in which it comes: tables may be merged.
import { contains, overlaps } from '@atoll/core-placement';
import { decodeFence, encodeFence, fenceBytes, readUint48, writeUint48, type Fence, type FencedLock } from './fence.ts';

/** Locks that one table knows apart. */
export const FENCED_LOCKS_MAX = 256;

interface Seen {
  readonly lock: FencedLock;
  /** Highest token of an exclusive holder, and of any holder. 0: none. */
  readonly exclusive: number;
  readonly any: number;
}

type Highest = Pick<Seen, 'exclusive' | 'any'>;

export class FenceTable {
  readonly #names = new Map<string, Seen>();
  #ranges: Seen[] = [];
  /** What was known of locks that had to go: it counts for every lock (I10). */
  #floor: Highest = { exclusive: 0, any: 0 };

  /** Locks that are known apart; at most FENCED_LOCKS_MAX. */
  get size(): number {
    return this.#names.size + this.#ranges.length;
  }

  get isEmpty(): boolean {
    return this.size === 0 && this.#floor.any === 0;
  }

  /** The token that has outdated this one; undefined when the operation may go on. */
  outdatedBy(fence: Fence): number | undefined {
    const limit = fence.isShared ? this.#highest(fence.lock).exclusive : this.#highest(fence.lock).any;
    return fence.token < limit ? limit : undefined;
  }

  /** Whether `observe` would teach the table something. */
  isNews({ lock, token, isShared }: Fence): boolean {
    const isKnown = (seen: Highest): boolean => (isShared ? seen.any : seen.exclusive) >= token;
    if (isKnown(this.#floor)) return false;
    if (lock.kind === 'range') return !this.#ranges.some((seen) => isKnown(seen) && seen.lock.kind === 'range' && contains(seen.lock.range, lock.range));
    const seen = this.#names.get(lock.name);
    return seen === undefined || !isKnown(seen);
  }

  observe({ lock, token, isShared }: Fence): void {
    this.#raise({ lock, exclusive: isShared ? 0 : token, any: token });
  }

  /** Whatever lock it is of, a token below this one is outdated. */
  raiseFloor(token: number): void {
    this.#lift({ exclusive: token, any: token });
  }

  /** Learns all that the other one knows. */
  merge(other: FenceTable): void {
    this.#lift(other.#floor);
    for (const seen of other.#all()) this.#raise(seen);
  }

  clear(): void {
    this.#names.clear();
    this.#ranges = [];
    this.#floor = { exclusive: 0, any: 0 };
  }

  /** u48 u48 floor, then for each lock and each of its two tokens a fence. */
  encode(): Buffer {
    const fences = this.#all().flatMap(toFences);
    const bytes = Buffer.allocUnsafe(fences.reduce((sum, fence) => sum + fenceBytes(fence), 12));
    let at = writeUint48(bytes, this.#floor.exclusive, 0);
    at = writeUint48(bytes, this.#floor.any, at);
    for (const fence of fences) at = encodeFence(fence, bytes, at);
    return bytes;
  }

  /** Nothing was ever seen: no bytes. Throws RangeError on damage. */
  static decode(bytes: Uint8Array): FenceTable {
    const table = new FenceTable();
    if (bytes.length === 0) return table;
    const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    table.#lift({ exclusive: readUint48(source, 0), any: readUint48(source, 6) });
    for (let at = 12; at < source.length; ) {
      const { fence, end } = decodeFence(source, at);
      table.observe(fence);
      at = end;
    }
    return table;
  }

  #all(): Seen[] {
    return [...this.#names.values(), ...this.#ranges];
  }

  #highest(lock: FencedLock): Highest {
    let { exclusive, any } = this.#floor;
    const take = (seen: Highest): void => {
      exclusive = Math.max(exclusive, seen.exclusive);
      any = Math.max(any, seen.any);
    };
    if (lock.kind === 'name') {
      const seen = this.#names.get(lock.name);
      if (seen !== undefined) take(seen);
    } else {
      for (const seen of this.#ranges) if (seen.lock.kind === 'range' && overlaps(seen.lock.range, lock.range)) take(seen);
    }
    return { exclusive, any };
  }

  #raise(seen: Seen): void {
    if (seen.lock.kind === 'name') {
      const known = this.#names.get(seen.lock.name);
      this.#names.set(seen.lock.name, known === undefined ? seen : { lock: seen.lock, ...higher(known, seen) });
    } else {
      this.#raiseRange(seen, seen.lock.range);
    }
    while (this.size > FENCED_LOCKS_MAX) this.#forgetLowest();
  }

  /** One range more, unless a wider one knows as much; narrower ones that know no more go. */
  #raiseRange(seen: Seen, range: Extract<FencedLock, { kind: 'range' }>['range']): void {
    let raised = seen;
    const kept: Seen[] = [];
    for (const other of this.#ranges) {
      if (other.lock.kind !== 'range') continue;
      const isInside = contains(range, other.lock.range);
      const isAround = contains(other.lock.range, range);
      if (isAround && other.exclusive >= seen.exclusive && other.any >= seen.any) return;
      if (isInside && isAround) raised = { lock: seen.lock, ...higher(other, seen) };
      else if (!(isInside && other.exclusive <= seen.exclusive && other.any <= seen.any)) kept.push(other);
    }
    kept.push(raised);
    this.#ranges = kept;
  }

  #forgetLowest(): void {
    let lowest: Seen | undefined;
    for (const seen of this.#all()) if (lowest === undefined || seen.any < lowest.any) lowest = seen;
    if (lowest === undefined) return;
    this.#lift(lowest);
    const { lock } = lowest;
    if (lock.kind === 'name') this.#names.delete(lock.name);
    else this.#ranges = this.#ranges.filter((seen) => seen !== lowest);
  }

  #lift(floor: Highest): void {
    this.#floor = higher(this.#floor, floor);
  }
}

const higher = (a: Highest, b: Highest): Highest => ({ exclusive: Math.max(a.exclusive, b.exclusive), any: Math.max(a.any, b.any) });

function toFences({ lock, exclusive, any }: Seen): Fence[] {
  const fences: Fence[] = [];
  if (exclusive > 0) fences.push({ lock, token: exclusive, isShared: false });
  if (any > exclusive) fences.push({ lock, token: any, isShared: true });
  return fences;
}

// What chunks behind the first rows of a chain say of the keys of one interval of hashes: the last word on each of them, by version. In
// which order they say it is of no matter, nor how often.
import { decodeEntry, entryBytesAt } from '@atoll/core-replication';
import { compareHash, keyHash, type Hash64 } from '@atoll/core-runtime';
import { compareVersion, decodeRows, type EntryVersion } from '@atoll/core-store';
import { archiveDamaged } from '../archive-errors.ts';
import type { RestoreSource, RestoreStep } from '../restore-plan.ts';
import { ExpiryMarks } from './expiry-marks.ts';

/** Of the hashes of keys, [from, to), to the end without `to`. */
export interface HashInterval {
  readonly from: Hash64;
  readonly to: Hash64 | undefined;
}

export const isWithin = ({ from, to }: HashInterval, hash: Hash64): boolean => compareHash(hash, from) >= 0 && (to === undefined || compareHash(hash, to) < 0);

export interface ChangedKey {
  readonly key: Buffer;
  readonly hash: Hash64;
  /** Undefined: the key is gone. */
  readonly value: Buffer | undefined;
  readonly expiresAtMs: number;
  readonly version: EntryVersion;
}

/** What a key takes here beside its bytes and those of its value; a guess on the safe side. */
const KEY_OVERHEAD_BYTES = 300;

export interface OverlayOptions {
  readonly interval: HashInterval;
  readonly bytesMax: number;
  readonly belongs: (key: Uint8Array) => boolean;
  /** Versions in the log have the counter of the generation of this partition. */
  readonly generation: number;
}

export class ChangeOverlay {
  readonly #options: OverlayOptions;
  readonly #changed = new Map<string, ChangedKey>();
  readonly #outdated = new Set<ChangedKey>();
  readonly #expiries = new ExpiryMarks();
  #interval: HashInterval;
  #bytes = 0;

  constructor(options: OverlayOptions) {
    this.#options = options;
    this.#interval = options.interval;
  }

  /** What it speaks of: less than it was made for where that is more than it may hold. */
  get interval(): HashInterval {
    return this.#interval;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** `plain`: content of the chunk of the step. Steps come in order. @throws ARCHIVE_DAMAGED (MALFORMED) */
  apply(step: RestoreStep, plain: Buffer, upTo: RestoreSource['upTo']): void {
    try {
      if (step.chunk.kind === 'ROWS') this.#applyRows(plain);
      else this.#applyLog(step, plain, 'atMs' in upTo ? upTo.atMs : Infinity);
    } catch (error) {
      throw malformed(step, error);
    }
  }

  /** Whether a row is gone, or replaced by what is here; what it is newer than is forgotten. */
  hides(key: Uint8Array, hash: Hash64, { expiresAtMs, version }: { readonly expiresAtMs: number; readonly version: EntryVersion }): boolean {
    const changed = this.#changed.get(textOf(key));
    if (changed !== undefined && compareVersion(changed.version, version) >= 0) return true;
    if (changed !== undefined) this.#outdated.add(changed);
    return this.#expiries.removes(hash, expiresAtMs, this.#orderOf(version));
  }

  /** Whether a row that was seen is newer. */
  isOutdated(changed: ChangedKey): boolean {
    return this.#outdated.has(changed);
  }

  /** Keys that are there, in the order of their hashes. */
  present(): readonly ChangedKey[] {
    return [...this.#changed.values()]
      .filter(({ value, hash, expiresAtMs, version }) => value !== undefined && !this.#expiries.removes(hash, expiresAtMs, this.#orderOf(version)))
      .sort((a, b) => compareHash(a.hash, b.hash));
  }

  #applyRows(plain: Buffer): void {
    for (const { key, value, version, expiresAtMs, isDeleted } of decodeRows(plain, { mayDelete: true, areViews: true })) this.#note(key, isDeleted ? undefined : value, expiresAtMs, version);
  }

  #applyLog({ afterSeq = -1, upToSeq = Infinity }: RestoreStep, plain: Buffer, upToMs: number): void {
    const { generation } = this.#options;
    for (let at = 0; at < plain.length; at += entryBytesAt(plain, at)) {
      const { seq, epoch, stampMs, evicted, operation } = decodeEntry(plain, at);
      if (seq <= afterSeq) continue;
      // Neither falls in a log (R23, R40).
      if (seq > upToSeq || stampMs > upToMs) return;
      const version = { generation, epoch, seq };
      for (const key of evicted) this.#note(key, undefined, 0, version);
      if (operation.kind === 'put') this.#note(operation.key, operation.value, operation.expiresAtMs, version);
      else if (operation.kind === 'delete') this.#note(operation.key, undefined, 0, version);
      else if (operation.kind === 'expire') this.#expiries.add(operation, seq);
    }
  }

  #note(key: Uint8Array, value: Uint8Array | undefined, expiresAtMs: number, version: EntryVersion): void {
    const hash = keyHash(key);
    if (!isWithin(this.#interval, hash) || !this.#options.belongs(key)) return;
    const text = textOf(key);
    const former = this.#changed.get(text);
    if (former !== undefined && compareVersion(former.version, version) > 0) return;
    if (former !== undefined) this.#bytes -= weightOf(former);
    // Copies: views would keep whole chunks in memory.
    const changed = { key: Buffer.from(key), hash, value: value && Buffer.from(value), expiresAtMs, version };
    this.#changed.set(text, changed);
    this.#bytes += weightOf(changed);
    if (this.#bytes > this.#options.bytesMax) this.#narrow();
  }

  /** Of what an earlier generation left, all expiries are later. */
  #orderOf({ generation, seq }: EntryVersion): number {
    return generation < this.#options.generation ? -1 : seq;
  }

  /** Leaves the upper half of the interval for later. One that cannot be cut stays as it is, whatever it takes. */
  #narrow(): void {
    const { from, to } = this.#interval;
    const middle = Math.floor((from.high + (to?.high ?? 2 ** 32)) / 2);
    if (middle <= from.high) return;
    this.#interval = { from, to: { high: middle, low: 0 } };
    for (const [text, changed] of this.#changed) {
      if (isWithin(this.#interval, changed.hash)) continue;
      this.#changed.delete(text);
      this.#bytes -= weightOf(changed);
    }
  }
}

const weightOf = ({ key, value }: ChangedKey): number => key.length + (value?.length ?? 0) + KEY_OVERHEAD_BYTES;
const textOf = (key: Uint8Array): string => Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');

/** Bytes that were written and cannot be read; other errors stay what they are. */
export function malformed({ chunk }: RestoreStep, error: unknown): unknown {
  return archiveDamaged(`chunk ${chunk.id}`, 'MALFORMED', error instanceof Error ? error.message : String(error));
}

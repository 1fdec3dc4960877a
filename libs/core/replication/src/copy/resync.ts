// A keyspace that has data of its own becomes a copy (R37): the old primary after a failover, or a standby whose source's log went
// on without it. Its source reads its sub-ranges as ever, but sends only those whose digest differs from what the copy has
// (part-digests.ts), each with the word that it is all there is. The copy puts what differs, removes what is not among it, and
// tells of what it thereby discards.
import { compareHash, keyHash, type Hash64 } from '@atoll/core-runtime';
import { compareVersion, isExpired, type EntryVersion, type PartitionStore } from '@atoll/core-store';
import { DISCARDED_KEY_BYTES_MAX, DISCARDED_LISTED_MAX, type DiscardReport, type DiscardedEntry } from '../former-data.ts';
import type { ReplicaState } from '../replica-state.ts';
import { toKeyText } from '../uncommitted.ts';
import { isWithin, type PartDigests } from './part-digests.ts';
import { digestRange, isSameDigest } from './range-digest.ts';
import { readSource, type CopiedChange, type SourceLimits, type SourcePlace, type SourceReading } from './source-reader.ts';

/** [from, to), to the end without `to`. */
export interface HashRange {
  readonly from: Hash64;
  readonly to: Hash64 | undefined;
}

export type DifferenceReading =
  | (Extract<SourceReading, { kind: 'read' }> & {
      /** So many of the changes come from the log; those behind them are all that there is in `replaced`. */
      readonly logChanges: number;
      /** Sub-ranges that differ, in order. */
      readonly replaced: readonly HashRange[];
      /** Entries and bytes that were read to be compared, those that were sent included. */
      readonly readEntries: number;
      readonly readBytes: number;
    })
  | Exclude<SourceReading, { kind: 'read' }>;

/** What differs may be removed at the copy within one batch, however much it is there. */
const REPLACED_MAX = 64;
/** Parts that are looked at in one turn, empty ones too. */
const PARTS_MAX = 2048;
const NO_LIMIT = { entriesMax: Infinity, bytesMax: Infinity };
const NO_SLICE = { entriesMax: 0, bytesMax: 0 };

/** As readSource, for a reader that has told what it holds. */
export function readDifferences(state: ReplicaState, place: SourcePlace, belongs: (key: Uint8Array) => boolean, parts: PartDigests, limits: SourceLimits): DifferenceReading {
  const log = readSource(state, { origin: place.origin, next: undefined }, belongs, { log: limits.log, slice: NO_SLICE });
  if (log.kind !== 'read') return log;
  const logChanges = log.changes.length;
  if (!log.isAtHead || place.next === undefined) return { ...log, place: { origin: log.place.origin, next: place.next }, logChanges, replaced: [], readEntries: 0, readBytes: 0 };
  const changes = [...log.changes];
  const replaced: HashRange[] = [];
  let from: Hash64 | undefined = place.next;
  let readEntries = 0;
  let readBytes = 0;
  let sliceBytes = 0;
  let sliceEntries = 0;
  const { entriesMax, bytesMax } = limits.slice;
  for (let looked = 0; from !== undefined && looked < PARTS_MAX && replaced.length < REPLACED_MAX && readEntries < entriesMax && sliceBytes < bytesMax; looked += 1) {
    const to: Hash64 | undefined = parts.endOf(from);
    const read = digestRange(state.store, { from, to, belongs, expiringByMs: parts.expiringByMs }, NO_LIMIT);
    readEntries += read.readEntries;
    readBytes += read.readBytes;
    if (isSameDigest(read.digest, parts.at(from))) {
      from = to;
      continue;
    }
    const slice = state.store.readRange(from, to, limits.slice);
    for (const { key, value, expiresAtMs } of slice.entries) {
      if (!belongs(key)) continue;
      changes.push({ key, value, expiresAtMs });
      sliceBytes += key.length + value.length;
      sliceEntries += 1;
    }
    const end: Hash64 | undefined = slice.next ?? to;
    if (end !== undefined && compareHash(end, from) <= 0) throw new Error('a sub-range of the source does not end');
    replaced.push({ from, to: end });
    // Of a part that is sent in pieces the rest differs from what was told, and is sent as well.
    from = end;
  }
  return { kind: 'read', changes, place: { origin: log.place.origin, next: from }, sliceBytes, sliceEntries, isAtHead: true, logChanges, replaced, readEntries, readBytes };
}

export interface DifferenceAsk {
  /** Of the copy, with nothing under way. */
  readonly store: PartitionStore;
  readonly generation: DiscardReport['generation'];
  readonly changes: readonly CopiedChange[];
  readonly logChanges: number;
  readonly replaced: readonly HashRange[];
  readonly belongs: (key: Uint8Array) => boolean;
  /** Keys below it were compared before. */
  readonly next: Hash64 | undefined;
  /** Entries of this log up to there were written here before it became a copy. */
  readonly resumedBehind: number;
  /** The source has everything up to there in this log; undefined: nobody knows. */
  readonly former: EntryVersion | undefined;
  /** The partition's time: what has expired is no loss. */
  readonly timeMs: number;
}

export interface Differences {
  /** What has to be written here. */
  readonly changes: readonly CopiedChange[];
  /** Undefined: nothing that was written here is lost by it. */
  readonly discards: DiscardReport | undefined;
}

/** What a message of the source means for what is held here. */
export function takeDifferences(ask: DifferenceAsk): Differences {
  const { store, changes, logChanges, replaced, belongs } = ask;
  const fromLog = changes.slice(0, logChanges);
  const inLog = new Set(fromLog.map(({ key }) => toKeyText(key)));
  const present = new Set<string>();
  const taken: CopiedChange[] = [...fromLog];
  for (const change of changes.slice(logChanges)) {
    const keyText = toKeyText(change.key);
    present.add(keyText);
    if (inLog.has(keyText) || !isHeld(store, change)) taken.push(change);
  }
  for (const range of replaced) {
    for (const { key } of store.readRange(range.from, range.to, NO_LIMIT).entries) {
      if (belongs(key) && !present.has(toKeyText(key))) taken.push({ key: Buffer.from(key), value: undefined, expiresAtMs: 0 });
    }
    // What the log brought of the range and took away again.
    for (const { key } of fromLog) if (!present.has(toKeyText(key)) && isWithin(keyHash(key), range)) taken.push({ key, value: undefined, expiresAtMs: 0 });
  }
  return { changes: taken, discards: judge(ask, taken) };
}

function isHeld(store: PartitionStore, { key, value, expiresAtMs }: CopiedChange): boolean {
  const held = store.peek(key, keyHash(key));
  return held !== undefined && value !== undefined && held.expiresAtMs === expiresAtMs && held.value.equals(value);
}

/** The last word on each key decides: each was written here at most once before. */
function judge({ store, generation, next, resumedBehind, former, timeMs }: DifferenceAsk, taken: readonly CopiedChange[]): DiscardReport | undefined {
  if (next === undefined) return undefined;
  let superseded = 0;
  let kept = 0;
  let discarded = 0;
  let keyBytes = 0;
  const listed: DiscardedEntry[] = [];
  for (const [, change] of new Map(taken.map((one) => [toKeyText(one.key), one]))) {
    const hash = keyHash(change.key);
    const held = store.peekState(change.key, hash);
    if (held === undefined || held.version.seq > resumedBehind || isExpired(held.expiresAtMs, timeMs) || compareHash(hash, next) < 0) continue;
    if (isHeld(store, change)) kept += 1;
    else if (former !== undefined && compareVersion(held.version, former) <= 0) superseded += 1;
    else {
      discarded += 1;
      keyBytes += change.key.length;
      if (listed.length < DISCARDED_LISTED_MAX && keyBytes <= DISCARDED_KEY_BYTES_MAX) listed.push({ key: Buffer.from(change.key), version: held.version, bytes: held.bytes, isCompared: true });
    }
  }
  return discarded === 0 ? undefined : { generation, discarded, superseded, kept, unknown: 0, listed };
}

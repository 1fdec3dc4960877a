// A stretch of a partition's log as an increment of a backup has it (R39): of each key the newest version alone, deletes and evictions
// as rows that say so, and the expiry records, which speak of keys that the stretch may not name.
//
// It is applied in two steps, expiry records first, to what was there before the stretch. That comes to what the log comes to:
//
//   a key that the stretch does not name   is touched by expiry records alone, in their order
//   a key that it names                    gets its row, whatever the records made of the version before. What one of them removed
//                                          of versions in the stretch itself is a delete here
import { compareHash, keyHash, type Hash64 } from '@atoll/core-runtime';
import { isExpired, type RowSource } from '@atoll/core-store';
import { decodeEntry, entryBytesAt, entryPositionAt, type LogEntry } from '../log-entry.ts';
import { toKeyText } from '../uncommitted.ts';

export interface LogWindow {
  /** Expiry records, as the leader encoded them: views. */
  readonly expiries: readonly Buffer[];
  /** In key-hash order; keys and values are views. */
  readonly rows: readonly (RowSource & { readonly hash: Hash64 })[];
  readonly deletes: number;
  /** Entries of the log that it was made of. */
  readonly entries: number;
}

type Row = RowSource & { readonly hash: Hash64 };

/** `runs`: whole entries, one behind the other. `generation`: counter of that of the partition. */
export function compactLog(runs: readonly Buffer[], generation: number): LogWindow {
  const newest = new Map<string, Row>();
  /** Those that an expiry record may remove. */
  const mortal = new Map<string, Row>();
  const expiries: Buffer[] = [];
  let entries = 0;
  const set = (key: Uint8Array, row: Omit<Row, 'key' | 'hash'>): void => {
    const text = toKeyText(key);
    const made = { ...row, key, hash: newest.get(text)?.hash ?? keyHash(key) };
    newest.set(text, made);
    if (made.expiresAtMs > 0) mortal.set(text, made);
    else mortal.delete(text);
  };
  const remove = (key: Uint8Array, version: Row['version']): void => set(key, { value: EMPTY, version, expiresAtMs: 0, isDeleted: true });
  const take = (entry: LogEntry, bytes: Buffer): void => {
    const version = { generation, epoch: entry.epoch, seq: entry.seq };
    for (const key of entry.evicted) remove(key, version);
    const { operation } = entry;
    if (operation.kind === 'put') set(operation.key, { value: viewOf(operation.value), version, expiresAtMs: operation.expiresAtMs });
    else if (operation.kind === 'delete') remove(operation.key, version);
    else if (operation.kind === 'expire') {
      expiries.push(bytes);
      for (const { key, hash, expiresAtMs } of mortal.values()) {
        const isInRange = compareHash(hash, operation.from) >= 0 && (operation.to === undefined || compareHash(hash, operation.to) < 0);
        if (isInRange && isExpired(expiresAtMs, operation.watermarkMs)) remove(key, version);
      }
    }
  };
  for (const run of runs) {
    for (let at = 0; at < run.length; at += entryBytesAt(run, at)) {
      entries += 1;
      take(decodeEntry(run, at), run.subarray(at, at + entryBytesAt(run, at)));
    }
  }
  const rows = [...newest.values()].sort((a, b) => compareHash(a.hash, b.hash));
  return { expiries, rows, deletes: rows.reduce((sum, { isDeleted }) => sum + (isDeleted === true ? 1 : 0), 0), entries };
}

export interface RunSummary {
  readonly entries: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly firstMs: number;
  readonly lastMs: number;
  /** Whether an entry of it changes what the partition holds. */
  readonly isChanging: boolean;
}

const QUIET: ReadonlySet<LogEntry['operation']['kind']> = new Set(['office', 'marker', 'unchanged', 'fence', 'copied']);

/** What an archive says of a run of whole entries, at least one. */
export function summarizeRun(run: Buffer): RunSummary {
  let entries = 0;
  let last = 0;
  let isChanging = false;
  for (let at = 0; at < run.length; at += entryBytesAt(run, at)) {
    entries += 1;
    last = at;
    if (isChanging) continue;
    const { operation, evicted } = decodeEntry(run, at);
    isChanging = evicted.length > 0 || !QUIET.has(operation.kind);
  }
  return { entries, firstSeq: entryPositionAt(run, 0).seq, lastSeq: entryPositionAt(run, last).seq, firstMs: decodeEntry(run, 0).stampMs, lastMs: decodeEntry(run, last).stampMs, isChanging };
}

const viewOf = (value: Uint8Array): Buffer => Buffer.from(value.buffer, value.byteOffset, value.byteLength);
const EMPTY = Buffer.alloc(0);

import { FenceTable } from '@atoll/core-locks';
import { keyHash, type Hash64, type PartitionId } from '@atoll/core-runtime';
import type { Generation, Member } from '@atoll/core-membership';
import type { EntryVersion, PartitionStore } from '@atoll/core-store';
import type { CopyPosition } from './copy/copy-position.ts';
import { CopyPositions } from './copy/copy-positions.ts';
import { DigestMarks } from './digest-marks.ts';
import { FormerData, type DiscardReport } from './former-data.ts';
import { entryBytesAt, entryPositionAt, type LogEntry } from './log-entry.ts';
import type { LogPosition } from './messages.ts';
import { PartitionClock } from './partition-clock.ts';
import { RangeRepair } from './range-repair.ts';
import { ReplicaLog } from './replica-log.ts';
import { RESULT_TABLE_DEFAULTS, ResultTable, type ResultTableOptions } from './result-table.ts';
import { SnapshotInstall } from './snapshot-install.ts';
import { ExpiredKeys } from './watch/expired-keys.ts';

/**
 * Where a replica's log is kept beside memory. Calls are synchronous and only hand over; durability comes back
 * through `ReplicaState.noteDurable`. Bytes are valid during the call alone.
 */
export interface ReplicaJournal {
  append(run: { readonly firstSeq: number; readonly lastSeq: number; readonly lastEpoch: number; readonly bytes: Buffer }): void;
  truncate(toSeq: number): void;
  /** A new lineage or an install begins: all that was written for this replica is void, the log goes on behind `base`. */
  reset(generation: Generation, base: LogPosition): void;
  committed(seq: number): void;
  /** An install is complete: the store must be on disk before `ReplicaState.noteInstallDurable` is called. */
  installed(): void;
}

export interface ReplicaIdentity {
  readonly keyspace: string;
  readonly keyspaceId: string;
  readonly partition: PartitionId;
  readonly self: Member;
}

/** What a replica has when it is made: nothing, or what its disk kept. */
export interface ReplicaOrigin {
  readonly generation: Generation;
  /** The store holds every entry up to here. */
  readonly applied: LogPosition;
  /** False for a replica that is still to be filled. */
  readonly installed: boolean;
  /** Partition time of what the disk kept: results of writes up to then are not known (R21). Left out: nothing came before. */
  readonly timeMs?: number | undefined;
}

/**
 * A replica's data, whatever its role: store, log, how far the log is applied, and the lineage of it all.
 * Invariant: base.seq <= appliedSeq <= end.seq, and the store equals the log applied up to appliedSeq unless an
 * install is under way.
 */
export class ReplicaState {
  readonly identity: ReplicaIdentity;
  readonly log: ReplicaLog;
  readonly clock = new PartitionClock();
  readonly expiredKeys = new ExpiredKeys();
  /** What became of the latest writes, by op id. At a leader it runs ahead, to the end of the log (R21). */
  readonly results: ResultTable;
  /**
   * The highest fencing tokens seen (R38). They are revisions of etcd, so they mean the same in every lineage of the data:
   * what a replica knows stays true when it is reset or filled anew.
   */
  readonly fences = new FenceTable();
  /** Of a keyspace that is a copy: the origins of what it holds (R37). */
  readonly copies = new CopyPositions();
  /** Called behind every turn that applied something, and when the data began anew. Must not throw. */
  onApplied: (() => void) | undefined;
  /** Digests at the markers that were applied last (R34). */
  readonly marks = new DigestMarks();
  readonly #journal: ReplicaJournal | undefined;
  /** With durability SYNC only what was flushed counts as appended (R25). */
  readonly #isSync: boolean;
  #store: PartitionStore;
  #former: FormerData | undefined;
  #generation: Generation;
  #appliedSeq: number;
  #durableSeq: number;
  #installed: boolean;
  #installDurable: boolean;
  #install: SnapshotInstall | undefined;
  #repair: RangeRepair | undefined;

  constructor(options: {
    identity: ReplicaIdentity;
    store: PartitionStore;
    origin: ReplicaOrigin;
    journal?: ReplicaJournal | undefined;
    isSync: boolean;
    results?: ResultTableOptions | undefined;
  }) {
    this.identity = options.identity;
    this.#store = options.store;
    this.log = new ReplicaLog(options.origin.applied);
    this.results = new ResultTable({
      ...(options.results ?? RESULT_TABLE_DEFAULTS),
      seq: options.origin.applied.seq,
      floorMs: options.origin.timeMs ?? -Infinity,
    });
    this.#journal = options.journal;
    this.#isSync = options.isSync;
    this.#generation = options.origin.generation;
    this.#appliedSeq = options.origin.applied.seq;
    this.#durableSeq = options.origin.applied.seq;
    this.#installed = options.origin.installed;
    this.#installDurable = options.origin.installed;
  }

  /** Another one in another lineage: not to be kept across turns. */
  get store(): PartitionStore {
    return this.#store;
  }

  get generation(): Generation {
    return this.#generation;
  }

  get appliedSeq(): number {
    return this.#appliedSeq;
  }

  get appliedPosition(): LogPosition {
    return this.log.positionAt(this.#appliedSeq);
  }

  /** Whether the store is complete: it may be read, and may count (R33). */
  get isInstalled(): boolean {
    return this.#installed && this.#installDurable;
  }

  /** Whether nothing is missing in memory; with a journal it counts only when it is on disk, too. */
  get hasAllData(): boolean {
    return this.#installed;
  }

  get install(): SnapshotInstall | undefined {
    return this.#install;
  }

  /** Last seq that counts as appended on this replica. */
  get appendedSeq(): number {
    return this.#isSync ? Math.min(this.#durableSeq, this.log.end.seq) : this.log.end.seq;
  }

  version(entry: { readonly epoch: number; readonly seq: number }): EntryVersion {
    return { generation: this.#generation.counter, epoch: entry.epoch, seq: entry.seq };
  }

  /** The leader's own entry, with the hash of its key. Returns its encoded size. */
  append(entry: LogEntry, hash?: Hash64): number {
    const bytes = this.log.append(entry);
    this.results.add(entry, hash);
    this.#journalRun(entry.seq);
    return bytes;
  }

  /** Entries from the leader. Throws RangeError, with nothing changed, when they do not follow (I4). */
  appendEncoded(bytes: Buffer): void {
    const fromSeq = this.log.end.seq + 1;
    this.log.appendEncoded(bytes);
    if (this.#journal === undefined) return;
    for (let seq = fromSeq; seq <= this.log.end.seq; ) seq = this.#journalRun(seq);
  }

  /**
   * What the disk kept behind `applied`: batches of encoded entries, of which only those up to each `lastSeq` count.
   * They are durable; those known to be committed are applied.
   */
  restoreEntries(batches: readonly { readonly lastSeq: number; readonly bytes: Uint8Array }[], committedSeq: number, nowMs: number): void {
    for (const { bytes, lastSeq } of batches) {
      const batch = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      for (let at = 0; at < batch.length; at += entryBytesAt(batch, at)) {
        const { seq } = entryPositionAt(batch, at);
        if (seq <= this.log.end.seq || seq > lastSeq) continue;
        this.log.appendEncoded(batch.subarray(at, at + entryBytesAt(batch, at)));
      }
    }
    this.#durableSeq = this.log.end.seq;
    while (this.#appliedSeq < Math.min(committedSeq, this.log.end.seq)) this.applyNext(this.log.entryAt(this.#appliedSeq + 1), nowMs);
  }

  noteDurable(seq: number): void {
    this.#durableSeq = Math.max(this.#durableSeq, Math.min(seq, this.log.end.seq));
  }

  /** Applies the log up to `seq`, in order, each entry once (I4). */
  commitTo(seq: number, nowMs: number): void {
    const last = Math.min(seq, this.log.end.seq);
    if (last <= this.#appliedSeq) return;
    while (this.#appliedSeq < last) this.applyNext(this.log.entryAt(this.#appliedSeq + 1), nowMs);
    this.finishApply();
  }

  /**
   * Applies the entry behind `appliedSeq`; `finishApply` must follow the last one of a turn. `hash` is that of the
   * entry's key where the caller knows it.
   */
  applyNext(entry: LogEntry, nowMs: number, hash?: Hash64): void {
    if (entry.seq !== this.#appliedSeq + 1) throw new Error(`cannot apply ${entry.seq} behind ${this.#appliedSeq} (I4)`);
    const keyed = hash ?? keyHashOf(entry);
    this.results.add(entry, keyed);
    if (entry.fence !== undefined) this.fences.observe(entry.fence);
    if (this.#install === undefined) this.#applyToStore(entry, keyed);
    else this.#applyToInstall(this.#install, entry);
    this.#repair?.noteEntry(entry);
    this.#appliedSeq = entry.seq;
    if (entry.operation.kind === 'marker') this.marks.keep({ epoch: entry.epoch, seq: entry.seq }, this.#installed ? this.store.digest() : undefined);
    if (entry.operation.kind === 'copied') this.#applyCopied(entry.operation.position, entry.seq);
    this.clock.follow(entry.stampMs, nowMs);
  }

  #applyCopied(position: CopyPosition, seq: number): void {
    this.copies.set(position, seq);
    if (position.phase === 'ENDED') this.fences.raiseFloor(position.origin.seq);
  }

  finishApply(): void {
    this.#journal?.committed(this.#appliedSeq);
    this.finishInstallIfComplete();
    this.#repair?.settle(this.#appliedSeq);
    this.onApplied?.();
  }

  /** Begins to install [from, to) again; undefined when the replica is not whole, or another repair is under way (R34). */
  beginRepair(from: Hash64, to: Hash64 | undefined): RangeRepair | undefined {
    if (this.#repair !== undefined || !this.isInstalled) return undefined;
    this.#repair = new RangeRepair({ store: this.store, from, to, appliedSeq: this.#appliedSeq, generation: this.#generation.counter });
    return this.#repair;
  }

  /** Done, or given up: what is not taken yet is not taken any more. */
  endRepair(repair: RangeRepair): void {
    if (this.#repair === repair) this.#repair = undefined;
  }

  /**
   * Cuts the log back (R28). Throws when that would take back what is applied: only a new generation, by a full
   * install, may do that.
   */
  truncate(toSeq: number): void {
    if (toSeq < this.#appliedSeq) {
      throw new Error(`asked to truncate to ${toSeq}, below the applied ${this.#appliedSeq} (R28)`);
    }
    this.log.truncate(toSeq);
    this.#durableSeq = Math.min(this.#durableSeq, toSeq);
    this.#journal?.truncate(toSeq);
  }

  /** Begins an install: the log goes on behind `logStart`, the store is filled by chunks (R33). */
  beginInstall(generation: Generation, logStart: LogPosition): void {
    this.#forgetDigests();
    const isSameLineage = generation.counter === this.#generation.counter && generation.id === this.#generation.id;
    if (!isSameLineage) this.#setAside();
    // What the store of this lineage already shows must not be left behind by chunks that are older.
    const shownSeq = isSameLineage ? Math.max(this.#appliedSeq, this.#install?.readSeqMax ?? 0) : 0;
    this.#generation = generation;
    this.expiredKeys.clear();
    this.copies.clear();
    this.log.reset(logStart);
    this.results.clear(logStart.seq, Infinity);
    this.#appliedSeq = logStart.seq;
    this.#durableSeq = logStart.seq;
    this.#installed = false;
    this.#installDurable = false;
    this.#install = new SnapshotInstall(this.store, Math.max(logStart.seq, shownSeq));
    this.#journal?.reset(generation, logStart);
    this.onApplied?.();
  }

  /** After a chunk or an application: ends the install when nothing is missing any more. */
  finishInstallIfComplete(): void {
    if (this.#install === undefined || !this.#install.isComplete(this.#appliedSeq)) return;
    this.#install = undefined;
    this.#installed = true;
    if (this.#journal === undefined) this.#installDurable = true;
    else this.#journal.installed();
  }

  /** Whether data of another lineage lies here that `compareFormer` has not compared to the end. */
  get hasFormer(): boolean {
    return this.#former !== undefined;
  }

  /**
   * Goes on to compare what was held of another lineage with what took its place, up to `entriesMax` entries. Answers
   * `more` while the next step has something to do at once, `waiting` while the install must go on first, and the
   * report when all is compared, or given up.
   */
  compareFormer(entriesMax: number, nowMs: number): 'more' | 'waiting' | DiscardReport | undefined {
    const former = this.#former;
    if (former === undefined) return undefined;
    if (former.compare(this.store, this.#install?.next, { entriesMax, timeMs: this.clock.read(nowMs) })) return 'more';
    return former.isDone ? this.giveUpFormer() : 'waiting';
  }

  /** Gives the memory of former data back at once, with what is not compared yet. */
  giveUpFormer(): DiscardReport | undefined {
    const former = this.#former;
    this.#former = undefined;
    former?.giveUp();
    return former?.report();
  }

  /** The data goes uncompared, all of it: nobody takes this replica's place. */
  giveUpAll(): DiscardReport | undefined {
    this.#setAside();
    return this.giveUpFormer();
  }

  /** The replica is given up: its memory goes back. */
  close(): void {
    this.giveUpFormer();
    this.#store.close();
  }

  /** The store as it was when the install ended is on disk. */
  noteInstallDurable(): void {
    if (this.#installed) this.#installDurable = true;
  }

  /**
   * Begins a new lineage with all that it holds, its whole log included, by the word of an operator (R3, R15). With a
   * journal the replica is whole again when the disk has it.
   */
  continueAs(generation: Generation, nowMs: number): void {
    this.commitTo(this.log.end.seq, nowMs);
    const { end } = this.log;
    this.#forgetDigests();
    this.log.reset(end);
    this.#durableSeq = end.seq;
    this.#generation = generation;
    if (this.#journal === undefined) return;
    this.#installDurable = false;
    this.#journal.reset(generation, end);
    this.#journal.installed();
  }

  /** Empty and complete, of a lineage that begins now: at creation or reset. */
  adoptEmpty(generation: Generation): void {
    this.#forgetDigests();
    this.store.clear();
    this.expiredKeys.clear();
    this.copies.clear();
    this.log.reset({ epoch: 0, seq: 0 });
    this.results.clear(0, -Infinity);
    this.#generation = generation;
    this.#appliedSeq = 0;
    this.#durableSeq = 0;
    this.#install = undefined;
    this.#installed = true;
    this.#installDurable = true;
    this.#journal?.reset(generation, { epoch: 0, seq: 0 });
    this.onApplied?.();
  }

  /**
   * Makes room for another lineage. What is here may be the last of its writes: it is kept to be compared, and what the
   * log holds behind it, with it. Only once: what an install before this one left half done goes.
   */
  #setAside(): void {
    for (let seq = this.#appliedSeq + 1; seq <= this.log.end.seq; seq += 1) {
      const entry = this.log.entryAt(seq);
      this.#applyToStore(entry, keyHashOf(entry));
    }
    if (this.#former !== undefined || this.#store.entryCount === 0) return this.#store.clear();
    this.#former = new FormerData({ store: this.#store, generation: this.#generation });
    this.#store = this.#store.sibling();
  }

  #forgetDigests(): void {
    this.marks.clear();
    this.#repair = undefined;
  }

  #applyToInstall(install: SnapshotInstall, entry: LogEntry): void {
    install.applyEntry(entry, this.#generation.counter);
    // The store is not whole, so neither is what the record found there.
    if (entry.operation.kind === 'expire') this.expiredKeys.forget(entry.seq);
  }

  #removeExpired(seq: number, range: { readonly from: Hash64; readonly to: Hash64 | undefined; readonly watermarkMs: number }): void {
    const keys: Uint8Array[] = [];
    this.store.removeExpired(range.from, range.to, range.watermarkMs, (key) => keys.push(key));
    this.expiredKeys.add(seq, keys, this.log.base.seq);
  }

  /** `hash` is that of the entry's key, where it has one. */
  #applyToStore(entry: LogEntry, hash: Hash64 | undefined): void {
    for (const key of entry.evicted) this.store.evict(key, keyHash(key));
    const { operation } = entry;
    switch (operation.kind) {
      case 'put':
        this.store.put({
          key: operation.key,
          hash: hash!,
          value: operation.value,
          version: this.version(entry),
          expiresAtMs: operation.expiresAtMs,
        });
        return;
      case 'delete':
        this.store.delete(operation.key, hash!);
        return;
      case 'expire':
        this.#removeExpired(entry.seq, operation);
        return;
      case 'office':
      case 'marker':
      case 'unchanged':
      case 'fence':
      case 'copied':
    }
  }

  /** For a new leader: the results of its whole log, so that they stand in order before its own (R21). */
  takeInResults(): void {
    for (let seq = this.#appliedSeq + 1; seq <= this.log.end.seq; seq += 1) {
      const entry = this.log.entryAt(seq);
      this.results.add(entry, keyHashOf(entry));
    }
  }

  /** Hands the entries from `seq` on that lie side by side to the journal; returns the seq behind them. */
  #journalRun(seq: number): number {
    if (this.#journal === undefined) return seq + 1;
    const run = this.log.run(seq, Number.MAX_SAFE_INTEGER);
    const lastSeq = seq + run.count - 1;
    this.#journal.append({ firstSeq: seq, lastSeq, lastEpoch: this.log.positionAt(lastSeq).epoch, bytes: run.bytes });
    return lastSeq + 1;
  }
}

const keyHashOf = ({ operation }: LogEntry): Hash64 | undefined => ('key' in operation ? keyHash(operation.key) : undefined);

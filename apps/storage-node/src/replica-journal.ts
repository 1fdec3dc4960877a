import type { Generation } from '@atoll/core-membership';
import type { LogPosition, ReplicaJournal } from '@atoll/core-replication';
import type { ReplicaId } from '@atoll/core-runtime';
import type { Wal } from './wal/index.ts';

/** One replica's part of the node's write-ahead log: hands entries over and tells how far they are on disk. */
export class WalJournal implements ReplicaJournal {
  readonly #wal: Wal;
  readonly #replicaId: ReplicaId;
  readonly #isSync: boolean;
  readonly #onInstalled: () => void;
  readonly #onWaiting: () => void;
  /** Entries that were handed over and are not durable: where the log ends behind them. */
  readonly #waiting: { readonly position: number; readonly seq: number }[] = [];

  constructor(options: { wal: Wal; replicaId: ReplicaId; isSync: boolean; onInstalled: () => void; onWaiting: () => void }) {
    this.#wal = options.wal;
    this.#replicaId = options.replicaId;
    this.#isSync = options.isSync;
    this.#onInstalled = options.onInstalled;
    this.#onWaiting = options.onWaiting;
  }

  append(run: { firstSeq: number; lastSeq: number; lastEpoch: number; bytes: Buffer }): void {
    // A copy: the log may be cut back and go on in the same memory before the disk has this.
    const position = this.#wal.append(this.#replicaId, { ...run, bytes: Buffer.from(run.bytes) });
    if (!this.#isSync) return;
    this.#waiting.push({ position, seq: run.lastSeq });
    if (this.#waiting.length === 1) this.#onWaiting();
    this.#wal.requestFlush();
  }

  truncate(toSeq: number): void {
    this.#wal.truncate(this.#replicaId, toSeq);
    let cut: number | undefined;
    while ((this.#waiting.at(-1)?.seq ?? 0) > toSeq) cut = this.#waiting.pop()!.position;
    // What is left of a run that was cut through is durable with the whole of it.
    if (cut !== undefined && (this.#waiting.at(-1)?.seq ?? 0) < toSeq) this.#waiting.push({ position: cut, seq: toSeq });
  }

  reset(generation: Generation, _base: LogPosition): void {
    this.#wal.setGeneration(this.#replicaId, generation);
    this.#waiting.length = 0;
  }

  committed(seq: number): void {
    this.#wal.noteCommitted(this.#replicaId, seq);
  }

  installed(): void {
    this.#onInstalled();
  }

  /** The highest seq that the disk has since the last call; undefined when there is no news. */
  takeDurable(position: number): number | undefined {
    let seq: number | undefined;
    while (this.#waiting[0] !== undefined && this.#waiting[0].position <= position) seq = this.#waiting.shift()!.seq;
    return seq;
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }
}

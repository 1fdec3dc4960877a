import type { Generation } from '@atoll/core-membership';
import type { ReplicaId } from '@atoll/core-runtime';
import type { StoredEntry } from '@atoll/core-store';
import { entryBytesAt, entryPositionAt } from '../log-entry.ts';
import type { LogPosition } from '../messages.ts';
import type { ReplicaJournal, ReplicaState } from '../replica-state.ts';
import type { Dice } from './dice.ts';
import type { EventQueue } from './event-queue.ts';

/** What survives a crash of one replica's process. */
export interface DiskImage {
  readonly replica: ReplicaId;
  generation: Generation;
  /** Whether checkpoint and entries make the whole state: not so while an install is under way. */
  isWhole: boolean;
  checkpoint: { readonly applied: LogPosition; readonly timeMs: number; readonly entries: readonly StoredEntry[]; readonly fences?: Buffer; readonly copies?: Buffer };
  /** Encoded entries by seq, behind the checkpoint. */
  entries: Map<number, Buffer>;
  endSeq: number;
  committedSeq: number;
}

interface Operation {
  readonly apply: (image: DiskImage) => void;
  /** Told once it is flushed, unless it was made void before. */
  readonly done?: () => void;
  readonly lastSeq: number;
  isVoid: boolean;
}

/** A disk that flushes what was handed over in order, some milliseconds later. */
export class SimulatedDisk implements ReplicaJournal {
  readonly image: DiskImage;
  /** What every flush takes longer than usual, in ms. */
  extraFlushMs = 0;
  readonly #events: EventQueue;
  readonly #dice: Dice;
  #pending: Operation[] = [];
  #isFlushing = false;
  #isCrashed = false;
  #state: ReplicaState | undefined;
  #onDurable: () => void = () => undefined;

  constructor(options: { events: EventQueue; dice: Dice; image: DiskImage }) {
    this.#events = options.events;
    this.#dice = options.dice;
    this.image = options.image;
  }

  static emptyImage(replica: ReplicaId): DiskImage {
    return {
      replica,
      generation: { counter: 0, id: '' },
      isWhole: false,
      checkpoint: { applied: { epoch: 0, seq: 0 }, timeMs: 0, entries: [] },
      entries: new Map(),
      endSeq: 0,
      committedSeq: 0,
    };
  }

  connect(state: ReplicaState, onDurable: () => void): void {
    this.#state = state;
    this.#onDurable = onDurable;
  }

  append(run: { readonly lastSeq: number; readonly bytes: Buffer }): void {
    const bytes = Buffer.from(run.bytes);
    this.#push({
      lastSeq: run.lastSeq,
      apply: (image) => {
        for (let at = 0; at < bytes.length; at += entryBytesAt(bytes, at)) {
          image.entries.set(entryPositionAt(bytes, at).seq, bytes.subarray(at, at + entryBytesAt(bytes, at)));
        }
        image.endSeq = run.lastSeq;
      },
      done: () => this.#state?.noteDurable(run.lastSeq),
    });
  }

  truncate(toSeq: number): void {
    for (const operation of this.#pending) if (operation.lastSeq > toSeq) operation.isVoid = true;
    this.#push({
      lastSeq: 0,
      apply: (image) => {
        for (const seq of image.entries.keys()) if (seq > toSeq) image.entries.delete(seq);
        image.endSeq = Math.min(image.endSeq, toSeq);
      },
    });
  }

  reset(generation: Generation, base: LogPosition): void {
    for (const operation of this.#pending) operation.isVoid = true;
    this.#push({
      lastSeq: 0,
      apply: (image) => {
        image.generation = generation;
        image.checkpoint = { applied: base, timeMs: 0, entries: [] };
        image.entries.clear();
        image.endSeq = base.seq;
        image.committedSeq = base.seq;
        image.isWhole = base.seq === 0;
      },
    });
  }

  committed(seq: number): void {
    this.#push({
      lastSeq: 0,
      apply: (image) => {
        image.committedSeq = Math.max(image.committedSeq, seq);
      },
    });
  }

  installed(): void {
    const state = this.#state!;
    const { entries } = state.store.readRange({ high: 0, low: 0 }, undefined, { entriesMax: 1_000_000, bytesMax: 2 ** 40 });
    const checkpoint = {
      applied: state.appliedPosition,
      timeMs: state.clock.read(this.#events.nowMs),
      entries: entries.map((entry) => ({ ...entry, value: Buffer.from(entry.value) })),
      fences: state.fences.encode(),
      copies: state.copies.encode(),
    };
    this.#push({
      lastSeq: 0,
      apply: (image) => {
        image.checkpoint = checkpoint;
        for (const seq of image.entries.keys()) if (seq <= checkpoint.applied.seq) image.entries.delete(seq);
        image.isWhole = true;
      },
      done: () => this.#state?.noteInstallDurable(),
    });
  }

  /** What was not flushed is gone, but for some of its beginning, perhaps. */
  crash(): void {
    this.#isCrashed = true;
    const kept = this.#dice.below(this.#pending.length + 1);
    for (const operation of this.#pending.slice(0, kept)) operation.apply(this.image);
    this.#pending = [];
  }

  #push(operation: Omit<Operation, 'isVoid'>): void {
    this.#pending.push({ ...operation, isVoid: false });
    this.#flushSoon();
  }

  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    const count = this.#pending.length;
    this.#events.after(this.#dice.between(1, 8) + this.extraFlushMs, () => {
      this.#isFlushing = false;
      if (this.#isCrashed) return;
      const flushed = this.#pending.splice(0, count);
      for (const operation of flushed) {
        operation.apply(this.image);
        if (!operation.isVoid) operation.done?.();
      }
      if (this.#pending.length > 0) this.#flushSoon();
      this.#onDurable();
    });
  }
}

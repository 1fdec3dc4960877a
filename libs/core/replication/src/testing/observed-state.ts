import type { Generation } from '@atoll/core-membership';
import type { Hash64 } from '@atoll/core-runtime';
import { decodeEntry, entryBytesAt, type LogEntry } from '../log-entry.ts';
import type { LogPosition } from '../messages.ts';
import { ReplicaState } from '../replica-state.ts';

/** Who watches what a replica does to its log and its store. */
export interface StateObserver {
  appended(state: ReplicaState, entry: LogEntry): void;
  applied(state: ReplicaState, entry: LogEntry): void;
  /** The store goes on from the state of `seq`. */
  restarted(state: ReplicaState, seq: number): void;
}

/** A production replica state that tells an observer about every entry. */
export class ObservedState extends ReplicaState {
  readonly #observer: StateObserver;

  constructor(options: ConstructorParameters<typeof ReplicaState>[0] & { observer: StateObserver }) {
    super(options);
    this.#observer = options.observer;
    this.#observer.restarted(this, options.origin.applied.seq);
  }

  override append(entry: LogEntry, hash?: Hash64): number {
    const bytes = super.append(entry, hash);
    this.#observer.appended(this, entry);
    return bytes;
  }

  override appendEncoded(bytes: Buffer): void {
    super.appendEncoded(bytes);
    for (let at = 0; at < bytes.length; at += entryBytesAt(bytes, at)) this.#observer.appended(this, decodeEntry(bytes, at));
  }

  override applyNext(entry: LogEntry, nowMs: number, hash?: Hash64): void {
    super.applyNext(entry, nowMs, hash);
    this.#observer.applied(this, entry);
  }

  override beginInstall(generation: Generation, logStart: LogPosition): void {
    super.beginInstall(generation, logStart);
    this.#observer.restarted(this, logStart.seq);
  }

  override adoptEmpty(generation: Generation): void {
    super.adoptEmpty(generation);
    this.#observer.restarted(this, 0);
  }
}

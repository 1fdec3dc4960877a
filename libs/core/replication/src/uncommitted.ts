import type { EntryMutation, EntryVersion, WriteAnswer } from '@atoll/core-store';
import { keyHash, type Hash64 } from '@atoll/core-runtime';
import type { ErrorReason } from '@atoll/core-errors';
import type { LogEntry } from './log-entry.ts';

export type WriteOutcome =
  | { readonly kind: 'done'; readonly answer: WriteAnswer; readonly version: EntryVersion | undefined }
  | { readonly kind: 'failed'; readonly reason: ErrorReason; readonly message: string; readonly metadata?: Readonly<Record<string, string>> };

export type FailedWrite = Extract<WriteOutcome, { kind: 'failed' }>;

/** What a key will be when `write` commits; `value` undefined means removed. */
export interface UncommittedState {
  /** The key, as `toKeyText` has it, and its hash. */
  readonly keyText: string;
  readonly hash: Hash64;
  readonly write: PendingWrite;
  readonly value: Uint8Array | undefined;
  readonly expiresAtMs: number;
  /** For `UncommittedStates`. */
  nextState: UncommittedState | undefined;
}

/** A key that `write` evicts. */
export class EvictedState implements UncommittedState {
  readonly keyText: string;
  readonly hash: Hash64;
  readonly write: PendingWrite;
  readonly value = undefined;
  readonly expiresAtMs = 0;
  nextState: UncommittedState | undefined = undefined;

  constructor(key: Uint8Array, write: PendingWrite) {
    this.keyText = toKeyText(key);
    this.hash = keyHash(key);
    this.write = write;
  }
}

/** A write between its append and its commit. It is the state of its own key, too. */
export class PendingWrite implements UncommittedState {
  /** As it stands in the log. */
  readonly entry: LogEntry;
  readonly keyText: string;
  readonly hash: Hash64;
  nextState: UncommittedState | undefined = undefined;
  readonly version: EntryVersion;
  /** Undefined: its entry changes nothing. */
  readonly mutation: EntryMutation | undefined;
  /** Encoded size in the log. */
  readonly bytes: number;
  /** What it will add to the memory in use when it is applied, less what it evicts; may be negative. */
  readonly reservedBytes: number;
  /** Called at the commit, with true, or when the fate is unknown, with false. */
  #listeners: ((committed: boolean) => void)[] | undefined;

  constructor(options: {
    entry: LogEntry;
    keyText: string;
    hash: Hash64;
    version: EntryVersion;
    mutation: EntryMutation | undefined;
    bytes: number;
    reservedBytes: number;
  }) {
    this.entry = options.entry;
    this.keyText = options.keyText;
    this.hash = options.hash;
    this.version = options.version;
    this.mutation = options.mutation;
    this.bytes = options.bytes;
    this.reservedBytes = options.reservedBytes;
  }

  get write(): PendingWrite {
    return this;
  }

  get evicted(): readonly Uint8Array[] {
    return this.entry.evicted;
  }

  get seq(): number {
    return this.version.seq;
  }

  get value(): Uint8Array | undefined {
    return this.mutation?.kind === 'put' ? this.mutation.value : undefined;
  }

  get expiresAtMs(): number {
    return this.mutation?.kind === 'put' ? this.mutation.expiresAtMs : 0;
  }

  onSettled(listener: (committed: boolean) => void): void {
    if (this.#listeners === undefined) this.#listeners = [listener];
    else this.#listeners.push(listener);
  }

  settle(committed: boolean): void {
    const listeners = this.#listeners;
    this.#listeners = undefined;
    if (listeners !== undefined) for (const listener of listeners) listener(committed);
  }
}

const BUCKETS_MIN = 16;

/**
 * The newest appended state of every key that has a write under way: what conditions and increments are evaluated
 * against (R18), and what makes a STRONG read wait (R19).
 *
 * Chained hashing with the links in the states, and no Map: `NumberMap` of core-runtime tells what a Map costs here.
 */
export class UncommittedStates {
  /** A power of two of them. */
  #buckets: (UncommittedState | undefined)[] = emptyBuckets(BUCKETS_MIN);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(keyText: string, hash: Hash64): UncommittedState | undefined {
    let state = this.#buckets[hash.low & (this.#buckets.length - 1)];
    while (state !== undefined && state.keyText !== keyText) state = state.nextState;
    return state;
  }

  /** In the place of what the key had. `state` stands in no other place. */
  set(state: UncommittedState): void {
    const former = this.get(state.keyText, state.hash);
    if (former !== undefined) this.#remove(former);
    if (this.#size >= this.#buckets.length) this.#resize(this.#buckets.length * 2);
    this.#insert(state);
    this.#size += 1;
  }

  /** `write` is applied: the store knows what it made of the key, unless a newer one is under way. */
  settle(keyText: string, hash: Hash64, write: PendingWrite): void {
    const state = this.get(keyText, hash);
    if (state?.write !== write) return;
    this.#remove(state);
    if (this.#size === 0 && this.#buckets.length > BUCKETS_MIN * 16) this.#resize(BUCKETS_MIN);
  }

  clear(): void {
    this.#buckets = emptyBuckets(BUCKETS_MIN);
    this.#size = 0;
  }

  #insert(state: UncommittedState): void {
    const bucket = state.hash.low & (this.#buckets.length - 1);
    state.nextState = this.#buckets[bucket];
    this.#buckets[bucket] = state;
  }

  #remove(state: UncommittedState): void {
    const bucket = state.hash.low & (this.#buckets.length - 1);
    let before = this.#buckets[bucket];
    if (before === state) {
      this.#buckets[bucket] = state.nextState;
    } else {
      while (before!.nextState !== state) before = before!.nextState;
      before!.nextState = state.nextState;
    }
    state.nextState = undefined;
    this.#size -= 1;
  }

  #resize(count: number): void {
    const former = this.#buckets;
    this.#buckets = emptyBuckets(count);
    for (const first of former) {
      for (let state = first; state !== undefined; ) {
        const next = state.nextState;
        this.#insert(state);
        state = next;
      }
    }
    former.fill(undefined);
  }
}

const emptyBuckets = (count: number): undefined[] => Array.from({ length: count }, () => undefined);

/** A key as a map key: one character per byte. */
export function toKeyText(key: Uint8Array): string {
  const bytes = Buffer.isBuffer(key) ? key : Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  return bytes.toString('latin1');
}

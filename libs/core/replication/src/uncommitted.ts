import type { EntryMutation, EntryVersion, WriteAnswer } from '@atoll/core-store';
import type { Hash64 } from '@atoll/core-runtime';
import type { ErrorReason } from '@atoll/core-errors';
import type { LogEntry } from './log-entry.ts';

export type WriteOutcome =
  | { readonly kind: 'done'; readonly answer: WriteAnswer; readonly version: EntryVersion | undefined }
  | { readonly kind: 'failed'; readonly reason: ErrorReason; readonly message: string; readonly metadata?: Readonly<Record<string, string>> };

export type FailedWrite = Extract<WriteOutcome, { kind: 'failed' }>;

/** What a key will be when `write` commits; `value` undefined means removed. */
export interface UncommittedState {
  readonly write: PendingWrite;
  readonly value: Uint8Array | undefined;
  readonly expiresAtMs: number;
}

/** A write between its append and its commit. It is the state of its own key, too. */
export class PendingWrite implements UncommittedState {
  /** As it stands in the log. */
  readonly entry: LogEntry;
  readonly keyText: string;
  readonly hash: Hash64;
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

/**
 * The newest appended state of every key that has a write under way: what conditions and increments are evaluated
 * against (R18), and what makes a STRONG read wait (R19).
 */
export class UncommittedStates {
  readonly #states = new Map<string, UncommittedState>();

  get size(): number {
    return this.#states.size;
  }

  get(keyText: string): UncommittedState | undefined {
    return this.#states.get(keyText);
  }

  set(keyText: string, state: UncommittedState): void {
    this.#states.set(keyText, state);
  }

  /** The write of `seq` is applied: the store knows it now, unless a newer one is under way. */
  settle(keyText: string, write: PendingWrite): void {
    if (this.#states.get(keyText)?.write === write) this.#states.delete(keyText);
  }

  clear(): void {
    this.#states.clear();
  }
}

/** A key as a map key: one character per byte. */
export function toKeyText(key: Uint8Array): string {
  const bytes = Buffer.isBuffer(key) ? key : Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  return bytes.toString('latin1');
}

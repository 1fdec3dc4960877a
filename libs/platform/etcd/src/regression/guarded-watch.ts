import { olderThan, type RecordTerm, type VersionedTerm } from '@atoll/core-membership';
import { NODES_PREFIX, PARTITIONS_PREFIX } from '../cluster-keys.ts';
import type { StoredValue, Watch, WatchListener, WatchedChange } from '../metadata-store.ts';
import { pause } from '../pause.ts';
import type { GuardedMetadataStore } from './guarded-metadata-store.ts';
import { metadataRegressed } from './regression-errors.ts';

const RETRY_MS = 250;

export interface GuardedWatchOptions {
  readonly prefix: string;
  readonly listener: WatchListener;
  readonly guard: Pick<GuardedMetadataStore, 'unguarded' | 'look' | 'isRegressed' | 'recoveryRevision' | 'reasons' | 'regress' | 'note'>;
  readonly beginsBehind: boolean;
  readonly onClose: () => void;
}

/** A snapshot that waits for a look at etcd, with the changes that came behind it. */
interface Pending {
  readonly values: Map<string, StoredValue>;
  revision: number;
}

/**
 * A watch that shows no state older than one that it has shown (R13):
 *
 *     snapshot -> look -> sound: tell it, and every change of the stream behind it
 *                      -> behind: tell nothing; the listener's values keep standing, and it counts as disconnected
 *     recovered: watch anew from a snapshot
 *
 * Registrations of nodes are told also while etcd is behind, since processes come and go; none vanishes meanwhile, so
 * that whoever has no other address keeps the last one (R11).
 */
export class GuardedWatch implements Watch {
  readonly #options: GuardedWatchOptions;
  readonly #closing = new AbortController();
  readonly #isOfNodes: boolean;
  #inner: Watch | undefined;
  /** Grows with each watch that is opened: what an older one says is of no interest. */
  #turn = 0;
  #pending: Pending | undefined;
  /** What was told, by key; undefined before the first time. */
  #told: Map<string, VersionedTerm> | undefined;
  #isInnerConnected = true;
  #isConnected = false;
  readonly #first = Promise.withResolvers<void>();

  constructor(options: GuardedWatchOptions) {
    this.#options = options;
    this.#isOfNodes = options.prefix === NODES_PREFIX;
    this.#first.promise.catch(() => undefined);
  }

  /** Resolves after the first snapshot was told. Throws METADATA_UNAVAILABLE, METADATA_REGRESSED. */
  async open(): Promise<void> {
    await this.#watch();
    await this.#first.promise;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#options.onClose();
    await this.#drop();
  }

  /** etcd was found to be behind. */
  onRegressed(): void {
    if (this.#options.beginsBehind && this.#told === undefined) return;
    this.#first.reject(metadataRegressed(this.#options.guard.reasons));
    if (!this.#isOfNodes) void this.#drop();
    this.#setConnected(false);
  }

  onRecovered(): void {
    void this.#reopen();
  }

  async #reopen(): Promise<void> {
    await this.#drop();
    this.#told = new Map(); // The recovery counts above everything that was told.
    while (!this.#closing.signal.aborted) {
      const turn = this.#turn + 1;
      try {
        await this.#watch();
        return;
      } catch {
        await pause(RETRY_MS, this.#closing.signal);
        if (this.#turn !== turn) return;
      }
    }
  }

  async #watch(): Promise<void> {
    this.#turn += 1;
    const turn = this.#turn;
    const isPresent = (): boolean => this.#turn === turn && !this.#closing.signal.aborted;
    const inner = await this.#options.guard.unguarded.watch(this.#options.prefix, {
      onSnapshot: (values, revision) => {
        if (isPresent()) this.#onSnapshot(values, revision);
      },
      onChanges: (changes, revision) => {
        if (isPresent()) this.#onChanges(changes, revision);
      },
      onConnection: (connected) => {
        if (!isPresent()) return;
        this.#isInnerConnected = connected;
        if (!connected) this.#setConnected(false);
        else if (this.#pending === undefined && !this.#options.guard.isRegressed) this.#setConnected(true);
      },
    });
    if (isPresent()) this.#inner = inner;
    else await inner.close();
  }

  async #drop(): Promise<void> {
    this.#turn += 1;
    this.#pending = undefined;
    const inner = this.#inner;
    this.#inner = undefined;
    await inner?.close();
  }

  #onSnapshot(values: readonly StoredValue[], revision: number): void {
    this.#pending = { values: new Map(values.map((stored) => [stored.key, stored])), revision };
    void this.#judge(this.#pending);
  }

  async #judge(pending: Pending): Promise<void> {
    const { guard } = this.#options;
    while (this.#pending === pending && !this.#closing.signal.aborted) {
      try {
        await guard.look();
        break;
      } catch (error) {
        this.#first.reject(error);
        await pause(RETRY_MS, this.#closing.signal);
      }
    }
    if (this.#pending !== pending || this.#closing.signal.aborted) return;
    // It was read before a recovery that the look was the first to show: what it says is over. Changes of the recovery may
    // still be on their way behind it.
    if (!guard.isRegressed && pending.revision < guard.recoveryRevision) return this.#reopen();
    const terms = [...pending.values.values()].map((stored): [string, VersionedTerm] => [stored.key, this.#termOf(stored)]);
    if (!guard.isRegressed && !this.#isOfNodes) guard.regress(olderThan(this.#told ?? new Map(), terms));
    const isFirst = this.#told === undefined;
    if (!guard.isRegressed || (isFirst && this.#options.beginsBehind)) return this.#tell(pending, new Map(terms));
    this.#first.reject(metadataRegressed(guard.reasons));
    this.#pending = undefined;
    if (this.#isOfNodes) this.#options.listener.onChanges([...pending.values.values()].map((value) => ({ key: value.key, value })), pending.revision);
  }

  #tell(pending: Pending, terms: Map<string, VersionedTerm>): void {
    const { guard, listener } = this.#options;
    this.#pending = undefined;
    this.#told = terms;
    guard.note(pending.revision);
    listener.onSnapshot([...pending.values.values()], pending.revision);
    if (guard.isRegressed) listener.onConnection?.(false);
    else if (this.#isInnerConnected) this.#setConnected(true);
    this.#first.resolve();
  }

  #onChanges(changes: readonly WatchedChange[], revision: number): void {
    const { guard, listener } = this.#options;
    if (this.#pending !== undefined) {
      for (const { key, value } of changes) {
        if (value === undefined) this.#pending.values.delete(key);
        else this.#pending.values.set(key, value);
      }
      this.#pending.revision = Math.max(this.#pending.revision, revision);
      return;
    }
    if (guard.isRegressed) {
      const present = changes.filter(({ value }) => value !== undefined);
      if (this.#isOfNodes && present.length > 0) listener.onChanges(present, revision);
      return;
    }
    for (const { key, value } of changes) {
      if (value === undefined) this.#told?.delete(key);
      else this.#told?.set(key, this.#termOf(value));
    }
    guard.note(revision);
    listener.onChanges(changes, revision);
  }

  #setConnected(connected: boolean): void {
    if (this.#isConnected === connected || this.#closing.signal.aborted) return;
    this.#isConnected = connected;
    this.#options.listener.onConnection?.(connected);
  }

  #termOf({ value, modRevision }: StoredValue): VersionedTerm {
    return { modRevision, term: this.#options.prefix === PARTITIONS_PREFIX ? readTerm(value) : undefined };
  }
}

/** Only what is needed, since every change of a record passes here; undefined for what is no record. */
function readTerm(text: string): RecordTerm | undefined {
  try {
    const { keyspaceId, generation, epoch } = JSON.parse(text) as { keyspaceId?: unknown; generation?: { counter?: unknown }; epoch?: unknown };
    if (typeof keyspaceId !== 'string' || typeof generation?.counter !== 'number' || typeof epoch !== 'number') return undefined;
    return { keyspaceId, generation: generation.counter, epoch };
  } catch {
    return undefined;
  }
}

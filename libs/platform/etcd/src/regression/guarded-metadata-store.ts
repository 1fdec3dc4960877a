// The port to etcd with a memory (R13). An etcd that shows less than was seen counts as away for everything that is
// configuration, so that all of R12 holds: what was seen last goes on to stand, nothing is read and nothing changed.
// Registrations, elections and locks go on: they are facts of processes that live now.
//
//   a change     carries two things in its own transaction: it writes CHANGE_KEY, and it compares that this key is not
//                older than was seen. So an etcd that went back refuses it, also one that nobody has noticed yet
//   a note       is left in such an etcd by the first who notices: from then on it refuses also the changes of those who
//                remember less, or began since
//   a read       is followed by a look at CHANGE_KEY, RECOVERY_KEY and the cluster's id, and counts only if that is sound
//   a watch      of configuration waits, after each gap, for such a look (guarded-watch.ts)
import { HighWaterMark, type MetadataMark, type SeenMark } from '@atoll/core-membership';
import { z } from 'zod';
import { CHANGE_KEY, CLUSTER_KEY, NODES_PREFIX, RECOVERY_KEY, REGRESSED_KEY, isConfiguration } from '../cluster-keys.ts';
import type { Change, Comparison, Lease, MetadataStore, StoredValue, TransactionOutcome, Watch, WatchListener } from '../metadata-store.ts';
import { parseIdentity } from '../cluster-identity.ts';
import { parseJson } from '../json-codec.ts';
import { GuardedWatch } from './guarded-watch.ts';
import { metadataRegressed } from './regression-errors.ts';

/** Time between looks while etcd is behind. */
const LOOK_MS = 500;

export interface GuardOptions {
  /** What this process, or its data, saw before; default nothing. */
  readonly seen?: SeenMark;
  /**
   * True for who can recover it: a watch that begins on an etcd that is known to have gone back shows what stands there,
   * disconnected. Default false: it throws METADATA_REGRESSED.
   */
  readonly beginsBehind?: boolean;
  /** etcd went back. `reasons`: what, from what to what, for people. */
  readonly onRegressed?: (reasons: readonly string[]) => void;
  readonly onRecovered?: () => void;
}

/** What another process says of etcd. */
export interface HeardMark {
  /** Who says so, for people. */
  readonly source: string;
  readonly mark: MetadataMark;
  /** Empty: it holds etcd to be sound. */
  readonly reasons: readonly string[];
}

export class GuardedMetadataStore implements MetadataStore {
  /** etcd as it is; for who recovers it. */
  readonly unguarded: MetadataStore;
  readonly #options: GuardOptions;
  readonly #mark: HighWaterMark;
  readonly #watches = new Set<GuardedWatch>();
  #changeWatch: Promise<Watch> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #identity: string | undefined;
  #isClosed = false;

  constructor(store: MetadataStore, options: GuardOptions = {}) {
    this.unguarded = store;
    this.#options = options;
    this.#mark = new HighWaterMark(options.seen);
  }

  get mark(): MetadataMark {
    return this.#mark.mark;
  }

  /** Without what others told. */
  get ownMark(): MetadataMark {
    return this.#mark.own;
  }

  /** Of the cluster; undefined before the first look. */
  get clusterId(): string | undefined {
    return this.#mark.clusterId;
  }

  /** What went back; empty while etcd is sound. */
  get reasons(): readonly string[] {
    return this.#mark.reasons;
  }

  get isRegressed(): boolean {
    return this.#mark.isRegressed;
  }

  /** Of the newest word of recovery that was seen, 0 without one. */
  get recoveryRevision(): number {
    return this.#mark.recoveryRevision;
  }

  /** The value of CLUSTER_KEY as it was seen last; undefined before. */
  get identity(): string | undefined {
    return this.#identity;
  }

  /** Throws METADATA_REGRESSED. */
  requireSound(): void {
    if (this.#mark.isRegressed) throw metadataRegressed(this.#mark.reasons);
  }

  /** Resolves when etcd was looked at. Throws METADATA_UNAVAILABLE; whether it went back is told by `isRegressed`. */
  async look(): Promise<void> {
    const sent = this.#mark.sending;
    const { values, revision } = await this.unguarded.list(CLUSTER_KEY);
    const at = (key: string): StoredValue | undefined => values.find((stored) => stored.key === key);
    const identity = at(CLUSTER_KEY);
    const change = this.#mark.observe(
      {
        clusterId: identity && parseIdentity(identity.value),
        revision,
        changeRevision: at(CHANGE_KEY)?.modRevision ?? 0,
        recoveryRevision: at(RECOVERY_KEY)?.modRevision ?? 0,
        noticed: parseNote(at(REGRESSED_KEY)?.value),
      },
      sent,
    );
    if (!this.isRegressed) this.#identity = identity?.value ?? this.#identity;
    if (change === 'regressed') this.#onRegressed();
    if (change === 'recovered') this.#onRecovered();
    if (this.isRegressed) {
      if (identity === undefined) await this.#keepIdentity();
      // Of another cluster it is not: nothing is written there.
      if (at(REGRESSED_KEY) === undefined && (identity === undefined || parseIdentity(identity.value) === this.clusterId)) await this.#leaveNote();
    }
  }

  /** Another process told what it saw: this one believes no etcd that shows less. Throws METADATA_UNAVAILABLE. */
  async hear({ source, mark, reasons }: HeardMark): Promise<void> {
    const isNews = this.#mark.raise(mark, reasons.length > 0);
    if (this.isRegressed || (!isNews && reasons.length === 0)) return;
    await this.look();
    // What it saw, this etcd may have counted again since; its memory is proof enough until a recovery is above it.
    if (reasons.length > 0 && this.#mark.recoveryRevision <= mark.revision) this.regress(reasons.map((reason) => `${source}: ${reason}`));
  }

  /** Records showed that etcd went back. */
  regress(reasons: readonly string[]): void {
    if (this.#mark.regress(reasons) === 'regressed') this.#onRegressed();
  }

  /** A revision that was seen in a watch. */
  note(revision: number): void {
    this.#mark.note({ revision });
  }

  async get(key: string): Promise<StoredValue | undefined> {
    if (!isConfiguration(key)) return this.unguarded.get(key);
    return this.#read(() => this.unguarded.get(key));
  }

  async list(prefix: string): Promise<{ readonly values: readonly StoredValue[]; readonly revision: number }> {
    if (!isConfiguration(prefix)) return this.unguarded.list(prefix);
    return this.#read(() => this.unguarded.list(prefix));
  }

  /** A change of configuration while etcd is behind is refused without being sent. */
  async transact(comparisons: readonly Comparison[], changes: readonly Change[]): Promise<TransactionOutcome> {
    const first = changes.find(({ key }) => isConfiguration(key));
    if (first === undefined) return this.unguarded.transact(comparisons, changes);
    if (this.isRegressed) return { kind: 'refused' };
    const { changeRevision } = this.mark;
    const guard: Comparison[] = [{ kind: 'modRevision', key: REGRESSED_KEY, equals: 0 }];
    if (changeRevision > 0) guard.push({ kind: 'modRevisionAtLeast', key: CHANGE_KEY, revision: changeRevision });
    const outcome = await this.unguarded.transact([...comparisons, ...guard], [...changes, { kind: 'put', key: CHANGE_KEY, value: first.key }]);
    if (outcome.kind === 'succeeded') this.#mark.note({ revision: outcome.revision, changeRevision: outcome.revision });
    // Perhaps for that reason.
    if (outcome.kind === 'refused') await this.look().catch(() => undefined);
    return outcome;
  }

  grantLease(ttlMs: number): Promise<Lease> {
    return this.unguarded.grantLease(ttlMs);
  }

  createLease(ttlMs: number): Promise<Pick<Lease, 'id' | 'ttlMs'>> {
    return this.unguarded.createLease(ttlMs);
  }

  renewLease(id: string): Promise<boolean> {
    return this.unguarded.renewLease(id);
  }

  revokeLease(id: string): Promise<void> {
    return this.unguarded.revokeLease(id);
  }

  /** Throws METADATA_REGRESSED where the first snapshot of configuration is behind, unless it may begin so. */
  async watch(prefix: string, listener: WatchListener): Promise<Watch> {
    if (!isConfiguration(prefix) && prefix !== NODES_PREFIX) return this.unguarded.watch(prefix, listener);
    await this.#watchChanges();
    const watch = new GuardedWatch({ prefix, listener, guard: this, beginsBehind: this.#options.beginsBehind ?? false, onClose: () => this.#watches.delete(watch) });
    this.#watches.add(watch);
    try {
      await watch.open();
    } catch (error) {
      await watch.close();
      throw error;
    }
    return watch;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await Promise.all([...this.#watches].map((watch) => watch.close()));
    await this.unguarded.close();
  }

  async #read<T>(read: () => Promise<T>): Promise<T> {
    this.requireSound();
    const answer = await read();
    await this.look();
    this.requireSound();
    return answer;
  }

  /** Keeps the mark of changes as new as what the other watches show. Throws METADATA_UNAVAILABLE. */
  async #watchChanges(): Promise<void> {
    this.#changeWatch ??= this.unguarded.watch(CHANGE_KEY, {
      onSnapshot: () => void this.look().catch(() => undefined),
      onChanges: (_changes, revision) => this.#mark.note({ revision, changeRevision: revision }),
    });
    try {
      await this.#changeWatch;
    } catch (error) {
      this.#changeWatch = undefined;
      throw error;
    }
  }

  /** A wiped etcd gets its identity back at once: what starts meanwhile must not found another cluster. */
  async #keepIdentity(): Promise<void> {
    if (this.#identity === undefined) return;
    await this.unguarded.transact([{ kind: 'modRevision', key: CLUSTER_KEY, equals: 0 }], [{ kind: 'put', key: CLUSTER_KEY, value: this.#identity }]);
  }

  /** Not in one that was recovered since the look: its word is compared. */
  async #leaveNote(): Promise<void> {
    const unseen: Comparison[] = [
      { kind: 'modRevision', key: REGRESSED_KEY, equals: 0 },
      { kind: 'modRevision', key: RECOVERY_KEY, equals: this.#mark.recoveryRevision },
    ];
    await this.unguarded.transact(unseen, [{ kind: 'put', key: REGRESSED_KEY, value: JSON.stringify({ reasons: this.reasons }) }]);
  }

  #onRegressed(): void {
    this.#options.onRegressed?.(this.#mark.reasons);
    for (const watch of this.#watches) watch.onRegressed();
    void this.#lookOnce();
  }

  #onRecovered(): void {
    clearTimeout(this.#timer);
    this.#options.onRecovered?.();
    for (const watch of this.#watches) watch.onRecovered();
  }

  async #lookOnce(): Promise<void> {
    await this.look().catch(() => undefined);
    if (this.isRegressed) this.#lookAgain();
  }

  #lookAgain(): void {
    clearTimeout(this.#timer);
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => void this.#lookOnce(), LOOK_MS).unref();
  }
}

const noteSchema = z.object({ reasons: z.array(z.string()).min(1) });

/** Empty where there is none; whatever stands there is one. */
function parseNote(value: string | undefined): readonly string[] {
  if (value === undefined) return [];
  const parsed = parseJson(noteSchema, value);
  return parsed.kind === 'parsed' ? parsed.value.reasons : ['another process noticed that it went back'];
}

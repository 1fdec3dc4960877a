import { metadataUnavailable } from './metadata-errors.ts';
import type { Comparison, Lease, MetadataStore, StoredValue, Watch } from './metadata-store.ts';

export interface QueueOptions {
  /** Ends with a slash; every key below it is a place in this queue. */
  readonly prefix: string;
  readonly value: string;
  readonly ttlMs: number;
  /** Nobody is before this place any more. At most once. */
  readonly onFirst: (place: QueuePlace) => void;
  /** The place is lost: its lease may be gone, or its key has vanished. At most once, and not after leave(). */
  readonly onGone: (place: QueuePlace) => void;
}

/**
 * A place in a queue in etcd: a key under a lease, and the lowest create revision is first. Create revisions only
 * grow, so nobody can come before a place that was seen first: it stays first while its key stands.
 *
 *     WAITING ---> FIRST ---> GONE
 *        \____________________^   lease lost, key vanished, leave()
 */
export class QueuePlace {
  readonly key: string;
  /** Order of arrival, and the fencing token of whoever is first. */
  readonly createRevision: number;
  readonly #options: QueueOptions;
  readonly #lease: Lease;
  readonly #places = new Map<string, number>();
  #state: 'WAITING' | 'FIRST' | 'GONE' = 'WAITING';
  #watch: Watch | undefined;

  private constructor(options: QueueOptions, lease: Lease, at: { key: string; createRevision: number }) {
    this.#options = options;
    this.#lease = lease;
    this.key = at.key;
    this.createRevision = at.createRevision;
  }

  /** Resolves once the queue was read, after onFirst if nobody is before. Throws METADATA_UNAVAILABLE. */
  static async enter(store: MetadataStore, options: QueueOptions): Promise<QueuePlace> {
    const lease = await store.grantLease(options.ttlMs);
    try {
      const key = `${options.prefix}${lease.id}`;
      const outcome = await store.transact([{ kind: 'modRevision', key, equals: 0 }], [{ kind: 'put', key, value: options.value, lease }]);
      // After an unknown outcome the key may stand or come; it goes with the lease, which nobody keeps alive.
      if (outcome.kind !== 'succeeded') throw metadataUnavailable(`enter ${options.prefix}`, outcome.kind === 'unknown' ? outcome.cause : undefined);
      const place = new QueuePlace(options, lease, { key, createRevision: outcome.revision });
      lease.onLost(() => place.#lose());
      await place.#watchQueue(store);
      return place;
    } catch (error) {
      void lease.revoke();
      throw error;
    }
  }

  /** Whether this place is first and its lease certainly stands at this moment (R11). */
  isFirst(): boolean {
    return this.#state === 'FIRST' && this.#lease.isAlive();
  }

  /** What a transaction of the first adds to its comparisons: refused once the place is gone. */
  get comparison(): Comparison {
    return { kind: 'createRevision', key: this.key, equals: this.createRevision };
  }

  /** Gives the place up. Never throws. */
  async leave(): Promise<void> {
    this.#state = 'GONE';
    await Promise.all([this.#watch?.close(), this.#lease.revoke()]);
  }

  async #watchQueue(store: MetadataStore): Promise<void> {
    const watch = await store.watch(this.#options.prefix, {
      onSnapshot: (values) => {
        this.#places.clear();
        for (const stored of values) this.#take(stored.key, stored);
        if (this.#state !== 'GONE' && !this.#places.has(this.key)) this.#lose();
        else this.#decide();
      },
      onChanges: (changes) => {
        for (const { key, value } of changes) this.#take(key, value);
        if (changes.some(({ key, value }) => key === this.key && value === undefined)) this.#lose();
        else this.#decide();
      },
    });
    this.#watch = watch;
    if (this.#state === 'GONE') await watch.close();
  }

  #take(key: string, stored: StoredValue | undefined): void {
    if (stored === undefined) this.#places.delete(key);
    else this.#places.set(key, stored.createRevision);
  }

  #decide(): void {
    if (this.#state !== 'WAITING') return;
    for (const createRevision of this.#places.values()) if (createRevision < this.createRevision) return;
    this.#state = 'FIRST';
    this.#options.onFirst(this);
  }

  #lose(): void {
    if (this.#state === 'GONE') return;
    void this.leave();
    this.#options.onGone(this);
  }
}

import { AtollError } from '@atoll/core-errors';
import type { NodeRecord } from '@atoll/core-membership';

import { nodeKey } from './cluster-keys.ts';
import { metadataUnavailable } from './metadata-errors.ts';
import type { Lease, MetadataStore, StoredValue, Watch } from './metadata-store.ts';
import { pause } from './pause.ts';
import { encodeNodeRecord, parseNodeRecord } from './record-codecs.ts';

const RETRY_MS = 500;
const WRITE_ATTEMPTS_MAX = 5;

export interface RegisterNodeOptions {
  /** The registration of a node that died vanishes after at most so long. 1000 at least. */
  readonly ttlMs: number;
  /** Asks the process at `address` for its incarnation; undefined when nobody answers. Never rejects, bounded in time. */
  readonly probe: (address: string) => Promise<string | undefined>;
  /** Another process took the node's id: this one must end (R5). At most once; the registration is over. */
  readonly onTaken: (by: NodeRecord) => void;
  /** The registration stands (true), or may have vanished and is being renewed (false). */
  readonly onRegistered?: (registered: boolean) => void;
  /** A failure that is tried again every 500 ms; one sentence for a log. */
  readonly onProblem?: (problem: string) => void;
}

export interface NodeRegistration {
  /** Whether the record stands in etcd, as far as this process knows. */
  isRegistered(): boolean;
  /**
   * Writes another record of the same node and incarnation. Throws METADATA_UNAVAILABLE when that was not
   * confirmed; it is then tried again in the background, as is everything else.
   */
  update(record: NodeRecord): Promise<void>;
  /** Takes the record away. Never throws; takes as long as one call to etcd at most. */
  deregister(): Promise<void>;
}

/**
 * Registers a storage node under a lease and keeps it so: after its lease was lost, or its key vanished, it
 * registers again under a new one (R11). A key that another incarnation holds is taken over only if nobody
 * answers for it (R5).
 *
 * Throws NODE_ID_TAKEN when another process answers under this id, METADATA_UNAVAILABLE while etcd is away.
 */
export async function registerNode(store: MetadataStore, record: NodeRecord, options: RegisterNodeOptions): Promise<NodeRegistration> {
  const registration = new KeptRegistration(store, record, options);
  await registration.open();
  return registration;
}

/** What stood in the way of one attempt to write the record. */
type WriteResult = { readonly kind: 'written' } | { readonly kind: 'taken'; readonly by: NodeRecord };

class KeptRegistration implements NodeRegistration {
  readonly #store: MetadataStore;
  readonly #options: RegisterNodeOptions;
  readonly #key: string;
  readonly #closing = new AbortController();
  #wanted: NodeRecord;
  /** What etcd holds: the record and its revision; undefined while it is not known to stand. */
  #written: { readonly record: NodeRecord; readonly modRevision: number } | undefined;
  #lease: Lease | undefined;
  #watch: Watch | undefined;
  /** One writer at a time: every write waits for the one before. */
  #turn: Promise<unknown> = Promise.resolve();
  #renewing = false;

  constructor(store: MetadataStore, record: NodeRecord, options: RegisterNodeOptions) {
    this.#store = store;
    this.#options = options;
    this.#wanted = record;
    this.#key = nodeKey(record.id);
  }

  async open(): Promise<void> {
    try {
      const result = await this.#inTurn(() => this.#write());
      if (result.kind === 'taken') throw nodeIdTaken(result.by);
      this.#watch = await this.#store.watch(this.#key, {
        onSnapshot: (values) => this.#see(values.find(({ key }) => key === this.#key)),
        onChanges: (changes) => {
          for (const { key, value } of changes) if (key === this.#key) this.#see(value);
        },
      });
    } catch (error) {
      await this.deregister();
      throw error;
    }
    this.#options.onRegistered?.(true);
  }

  isRegistered(): boolean {
    return this.#written !== undefined && this.#lease?.isAlive() === true;
  }

  async update(record: NodeRecord): Promise<void> {
    if (record.id !== this.#wanted.id || record.incarnation !== this.#wanted.incarnation) {
      throw new Error(`node ${this.#wanted.id}: an update must keep the id and the incarnation`);
    }
    this.#wanted = record;
    try {
      const result = await this.#inTurn(() => this.#write());
      if (result.kind === 'taken') this.#giveUp(result.by);
    } catch (error) {
      this.#renew();
      throw error;
    }
  }

  async deregister(): Promise<void> {
    this.#closing.abort(); // A write that is under way ends by itself: its lease is revoked before or after it.
    this.#written = undefined;
    await Promise.all([this.#watch?.close(), this.#lease?.revoke()]);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work, work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /**
   * Writes what is wanted under a lease that stands. Each attempt reads the key and compares its revision, so an
   * earlier attempt whose fate is unknown is settled by the next one that succeeds (R7).
   */
  async #write(): Promise<WriteResult> {
    for (let attempt = 0; attempt < WRITE_ATTEMPTS_MAX; attempt += 1) {
      if (this.#closing.signal.aborted) throw hasEnded();
      if (this.isRegistered() && this.#written?.record === this.#wanted) return { kind: 'written' };
      const present = await this.#store.get(this.#key);
      const rival = await this.#findRival(present);
      if (rival !== undefined) return { kind: 'taken', by: rival };
      const lease = await this.#standingLease();
      const record = this.#wanted;
      const outcome = await this.#store.transact(
        [{ kind: 'modRevision', key: this.#key, equals: present?.modRevision ?? 0 }],
        [{ kind: 'put', key: this.#key, value: encodeNodeRecord(record), lease }],
      );
      if (this.#closing.signal.aborted) throw hasEnded();
      if (outcome.kind === 'succeeded') {
        this.#written = { record, modRevision: outcome.revision };
        if (record === this.#wanted) return { kind: 'written' };
      } else if (outcome.kind === 'unknown') {
        this.#written = undefined;
      }
    }
    throw metadataUnavailable(`register node ${this.#wanted.id}`, new Error(`no success in ${WRITE_ATTEMPTS_MAX} attempts`));
  }

  /** The other process that answers for this node's id, if there is one. */
  async #findRival(present: StoredValue | undefined): Promise<NodeRecord | undefined> {
    if (present === undefined) return undefined;
    const parsed = parseNodeRecord(present.value);
    if (parsed.kind === 'malformed') {
      this.#options.onProblem?.(`etcd: ${this.#key}: ${parsed.problem}; it is overwritten`);
      return undefined;
    }
    const holder = parsed.value;
    if (holder.incarnation === this.#wanted.incarnation) return undefined;
    const answer = await this.#options.probe(holder.address);
    // The address may be this process's own by now: then it is this process that answers.
    return answer === undefined || answer === this.#wanted.incarnation ? undefined : holder;
  }

  async #standingLease(): Promise<Lease> {
    if (this.#lease?.isAlive() === true) return this.#lease;
    const lease = await this.#store.grantLease(this.#options.ttlMs);
    if (this.#closing.signal.aborted) {
      await lease.revoke();
      throw hasEnded();
    }
    lease.onLost(() => this.#renew());
    this.#lease = lease;
    return lease;
  }

  /** Takes note of what a watch says. Older news than the own last write is passed over. */
  #see(stored: StoredValue | undefined): void {
    if (this.#closing.signal.aborted) return;
    if (stored === undefined) {
      void this.#inTurn(async () => this.#checkPresence());
      return;
    }
    if (this.#written !== undefined && stored.modRevision <= this.#written.modRevision) return;
    const parsed = parseNodeRecord(stored.value);
    if (parsed.kind === 'parsed' && parsed.value.incarnation !== this.#wanted.incarnation) this.#giveUp(parsed.value);
  }

  /** A deletion was told: of an earlier key, or of the one that should stand. */
  async #checkPresence(): Promise<void> {
    const present = await this.#store.get(this.#key).catch(() => undefined);
    if (present === undefined) this.#renew();
  }

  #renew(): void {
    if (this.#renewing || this.#closing.signal.aborted) return;
    this.#renewing = true;
    this.#written = undefined;
    this.#options.onRegistered?.(false);
    void this.#renewUntilWritten();
  }

  async #renewUntilWritten(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      try {
        const result = await this.#inTurn(() => this.#write());
        this.#renewing = false;
        if (result.kind === 'taken') this.#giveUp(result.by);
        else this.#options.onRegistered?.(true);
        return;
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        this.#options.onProblem?.(`node ${this.#wanted.id}: ${(error as Error).message}`);
        await pause(RETRY_MS, this.#closing.signal);
      }
    }
  }

  #giveUp(by: NodeRecord): void {
    if (this.#closing.signal.aborted) return;
    void this.deregister();
    this.#options.onTaken(by);
  }
}

const hasEnded = (): AtollError => metadataUnavailable('register a node', new Error('the registration has ended'));

function nodeIdTaken(by: NodeRecord): AtollError {
  return new AtollError('NODE_ID_TAKEN', `node ${by.id}: another process answers under this id at ${by.address}`, {
    metadata: { node: by.id, address: by.address, incarnation: by.incarnation },
  });
}

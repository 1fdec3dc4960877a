// The leases that one peer node has granted to this one (R14; Gray and Cheriton, "Leases", SOSP 1989). One beat per
// pair of nodes covers every partition that this node leads and the peer holds:
//
//   1. a beat names the version of the list, and brings the list while the peer has not acknowledged that version
//   2. the peer promises for the whole list but the exceptions that it names
//   3. the promise counts from when the beat was *sent*, less what the two clocks may drift apart meanwhile
//
// A promise that was made stands until it runs out, whatever later answers say: an exception only ends its renewal.
import type { ReplicaId } from '@atoll/core-runtime';

/** A partition for which a lease is asked: in which epoch, and of which replica. */
export interface LeaseItem {
  readonly keyspace: string;
  readonly partition: number;
  /** In which the asking node leads. */
  readonly epoch: number;
  /** Id of the replica that is to grant. */
  readonly replica: ReplicaId;
}

export interface LeaseBeat {
  readonly beat: number;
  readonly listVersion: number;
  /** The whole list, until the peer has acknowledged its version; else empty. */
  readonly items: readonly LeaseItem[];
}

export interface LeaseAnswer {
  readonly beat: number;
  readonly listVersion: number;
  /** Places in the list for which nothing was promised. */
  readonly exceptions: readonly number[];
}

/** What is known of one item. A lease that was granted under an earlier list is carried over. */
interface ItemLease {
  readonly item: LeaseItem;
  /** When the beat was sent that this lease counts from, as far as it does not follow the list. */
  carriedMs: number;
  isException: boolean;
}

/** Beats that may be unanswered at a time; an answer to an older one comes too late for any lease. */
const BEATS_MAX = 64;
const NEVER = Number.NEGATIVE_INFINITY;

export class PeerLease {
  readonly #countedMs: number;
  #items: ItemLease[] = [];
  #byPartition = new Map<string, ItemLease>();
  #listVersion = 1;
  /** Version that the peer has on the present stream; 0 for none. */
  #knownVersion = 0;
  /** When the latest answered beat of the present list was sent. */
  #listSentMs = NEVER;
  #beat = 0;
  /** Beats that were sent and not answered, oldest first. */
  #sent: { readonly beat: number; readonly listVersion: number; readonly atMs: number }[] = [];
  #heardMs = NEVER;

  /** `leaseMs`: for how long the peer promises. `driftMs`: how far the two clocks may part in that time; below `leaseMs`. */
  constructor(options: { leaseMs: number; driftMs: number }) {
    this.#countedMs = options.leaseMs - options.driftMs;
  }

  /** Monotonic time at which the peer was last heard; -Infinity before. */
  get heardMs(): number {
    return this.#heardMs;
  }

  get itemCount(): number {
    return this.#items.length;
  }

  /** Sets the list. Returns whether it is another one: a beat should then follow at once. */
  setItems(items: readonly LeaseItem[]): boolean {
    if (items.length === this.#items.length && items.every((item, index) => isSameItem(item, this.#items[index]!.item))) return false;
    const next = items.map((item): ItemLease => {
      const before = this.#byPartition.get(nameOf(item));
      const carriedMs = before !== undefined && isSameItem(before.item, item) ? this.#sentMsOf(before) : NEVER;
      return { item, carriedMs, isException: false };
    });
    this.#items = next;
    this.#byPartition = new Map(next.map((lease) => [nameOf(lease.item), lease]));
    this.#listVersion += 1;
    this.#listSentMs = NEVER;
    return true;
  }

  nextBeat(nowMs: number): LeaseBeat {
    this.#beat += 1;
    const beat = { beat: this.#beat, listVersion: this.#listVersion, atMs: nowMs };
    this.#sent.push(beat);
    if (this.#sent.length > BEATS_MAX) this.#sent.shift();
    const isKnown = this.#knownVersion === this.#listVersion;
    return { beat: beat.beat, listVersion: beat.listVersion, items: isKnown ? [] : this.#items.map(({ item }) => item) };
  }

  /** Answers come in the order of the beats; one to a beat that is not known any more changes nothing. */
  onAnswer(answer: LeaseAnswer, nowMs: number): void {
    const index = this.#sent.findIndex(({ beat }) => beat === answer.beat);
    if (index === -1) return;
    const { atMs, listVersion } = this.#sent[index]!;
    this.#sent.splice(0, index + 1);
    this.#heardMs = nowMs;
    this.#knownVersion = answer.listVersion;
    if (listVersion !== this.#listVersion || answer.listVersion !== listVersion) return;
    const exceptions = new Set(answer.exceptions);
    this.#items.forEach((lease, place) => {
      const isException = exceptions.has(place);
      if (isException === lease.isException) return;
      // Before the list's time moves on: what was promised so far stays.
      if (isException) lease.carriedMs = this.#sentMsOf(lease);
      lease.isException = isException;
    });
    this.#listSentMs = atMs;
  }

  /** A new stream to the peer: it knows no list, and answers to beats of the old one will not come. */
  onStreamOpened(): void {
    this.#knownVersion = 0;
    this.#sent = [];
  }

  /** What is held, and what is on its way, counts no more: the clock may have stood still (R17). */
  dropAll(): void {
    for (const lease of this.#items) lease.carriedMs = NEVER;
    this.#listSentMs = NEVER;
    this.#sent = [];
  }

  /** Until when the peer does not lead a higher epoch than `epoch` with `replica`; -Infinity without a promise. */
  leaseUntilMs(keyspace: string, partition: number, epoch: number, replica: ReplicaId): number {
    const lease = this.#byPartition.get(`${keyspace}/${partition}`);
    if (lease === undefined || lease.item.epoch !== epoch || lease.item.replica !== replica) return NEVER;
    return this.#sentMsOf(lease) + this.#countedMs;
  }

  #sentMsOf(lease: ItemLease): number {
    return lease.isException ? lease.carriedMs : Math.max(lease.carriedMs, this.#listSentMs);
  }
}

const nameOf = ({ keyspace, partition }: LeaseItem): string => `${keyspace}/${partition}`;

function isSameItem(a: LeaseItem, b: LeaseItem): boolean {
  return a.partition === b.partition && a.epoch === b.epoch && a.replica === b.replica && a.keyspace === b.keyspace;
}

// A partition of a source as its node serves it to a copy (R37): production's readings, sent one after the other.
import { beginOfCopy, digestRange, readSource, type CopiedChange, type CopyPosition, type RangeDigest, type SourcePlace } from '@atoll/core-replication';
import type { Hash64 } from '@atoll/core-runtime';
import type { SimStream } from '../base/network.ts';
import type { SimNode } from '../node/sim-node.ts';
import type { World } from '../world.ts';

const FIRST_HASH: Hash64 = { high: 0, low: 0 };
const WINDOW = 3;
const TELL_MS = 500;
const COMPARE_EVERY_MS = 1500;
/** Entries that expire so soon are not compared: all that expire here. */
const EXPIRING_MS = 60_000;
const BYTES_MAX = 64 * 1024;

/** Changes, and the place that they bring a partition of a copy to. */
export interface CopiedBatch {
  readonly changes: readonly CopiedChange[];
  readonly position: CopyPosition;
}

export interface SourceCheck {
  readonly from: Hash64;
  readonly to: Hash64 | undefined;
  readonly expiringByMs: number;
  readonly digest: RangeDigest;
}

export type SourceMessage =
  | { readonly kind: 'restart'; readonly reason: string }
  | { readonly kind: 'read'; readonly changes: readonly CopiedChange[]; readonly place: SourcePlace; readonly stampMs: number; readonly headSeq: number; readonly headStampMs: number; readonly check: SourceCheck | undefined };

export class CopyStream {
  readonly #world: World;
  readonly #node: SimNode;
  readonly #slot: number;
  readonly #stream: SimStream;
  readonly #belongs: (key: Uint8Array) => boolean;
  readonly #deliver: (message: SourceMessage) => void;
  #place: SourcePlace | undefined;
  #compareFrom: Hash64 | undefined = FIRST_HASH;
  #comparedMs = 0;
  #toldMs = Number.NEGATIVE_INFINITY;
  #underWay = 0;
  #isDue = false;

  constructor(options: { world: World; node: SimNode; slot: number; stream: SimStream; place: SourcePlace | undefined; belongs: (key: Uint8Array) => boolean; deliver: (message: SourceMessage) => void }) {
    this.#world = options.world;
    this.#node = options.node;
    this.#slot = options.slot;
    this.#stream = options.stream;
    this.#place = options.place;
    this.#belongs = options.belongs;
    this.#deliver = options.deliver;
    this.#pumpSoon(0);
  }

  /** The reader has taken a message. */
  taken(): void {
    this.#underWay -= 1;
    this.#pumpSoon(0);
  }

  #pumpSoon(delayMs: number): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#node.after(delayMs, () => {
      this.#isDue = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (!this.#stream.isOpen || this.#underWay >= WINDOW) return;
    const hosted = this.#node.hosted(this.#slot);
    const { dice } = this.#world;
    const { monotonicMs: nowMs } = this.#node.moment();
    // Looked up anew each time: leadership and lineage may have changed meanwhile.
    if (hosted?.replica.leader?.isServing !== true || !hosted.state.hasAllData) return this.#stream.break();
    const { state } = hosted;
    const place = this.#place ?? beginOfCopy(state, FIRST_HASH);
    this.#place = place;
    if (this.#compareFrom === undefined && nowMs - this.#comparedMs >= COMPARE_EVERY_MS) this.#compareFrom = FIRST_HASH;
    const isIdle = place.next === undefined && this.#compareFrom === undefined && state.appliedSeq === place.origin.seq;
    if (isIdle && nowMs - this.#toldMs < TELL_MS) return this.#pumpSoon(dice.between(2, 20));
    const slice = { entriesMax: dice.pick([1, 5, 50]), bytesMax: BYTES_MAX };
    const reading = readSource(state, place, this.#belongs, { log: { entriesMax: dice.pick([1, 8, 200]), bytesMax: BYTES_MAX }, slice });
    if (reading.kind === 'ahead') return this.#stream.break();
    if (reading.kind === 'restart') return this.#send({ kind: 'restart', reason: reading.reason });
    this.#place = reading.place;
    const headStampMs = state.clock.read(nowMs);
    const isWhole = reading.isAtHead && reading.place.next === undefined && reading.sliceEntries === 0;
    let check: SourceCheck | undefined;
    if (isWhole && this.#compareFrom !== undefined) {
      const from = this.#compareFrom;
      const expiringByMs = headStampMs + EXPIRING_MS;
      const { digest, next } = digestRange(state.store, { from, to: undefined, belongs: this.#belongs, expiringByMs }, slice);
      check = { from, to: next, expiringByMs, digest };
      this.#compareFrom = next;
      this.#comparedMs = nowMs;
    }
    this.#toldMs = nowMs;
    this.#send({
      kind: 'read',
      changes: reading.changes.map(({ key, value, ...rest }) => ({ ...rest, key: Buffer.from(key), value: value && Buffer.from(value) })),
      place: reading.place,
      stampMs: reading.isAtHead ? headStampMs : state.log.entryAt(reading.place.origin.seq).stampMs,
      headSeq: state.appliedSeq,
      headStampMs,
      check,
    });
    this.#pumpSoon(dice.below(3));
  }

  #send(message: SourceMessage): void {
    this.#underWay += 1;
    this.#stream.toOpener(() => this.#deliver(message));
  }
}

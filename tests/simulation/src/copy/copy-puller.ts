// Brings a partition of a copy what belongs to it out of one partition of its source (R37), as the nodes of production do: what has
// to outlive the process is in the partition's own log.
import { digestRange, isSameDigest, type CopiedChange, type CopyPosition, type Leader } from '@atoll/core-replication';
import { partitionOfToken, tokenOfKey } from '@atoll/core-placement';
import type { KeyspaceSpec } from '@atoll/core-membership';
import type { Hash64 } from '@atoll/core-runtime';
import type { SimStream } from '../base/network.ts';
import { partitionKey, placeOfSlot, slotOf } from '../names.ts';
import type { HostedReplica } from '../node/hosted-replica.ts';
import type { World } from '../world.ts';
import { CopyStream, type CopiedBatch, type SourceCheck, type SourceMessage } from './copy-stream.ts';

const FIRST_HASH: Hash64 = { high: 0, low: 0 };
const NOWHERE = { generation: 0, epoch: 0, seq: 0 } as const;
const ALL = { entriesMax: Infinity, bytesMax: Infinity };
const RETRY_MS = 100;
/** A place that moved without a change is written down so often. */
const PLACE_MS = 1000;
const SILENT_MS = 1500;

/** As a node tells it of a pair of partitions. */
export interface CopyStatus {
  readonly sourcePartition: number;
  readonly isFollowing: boolean;
  readonly lagMs: number | undefined;
  readonly origin: CopyPosition['origin'] | undefined;
  /** Entries that were found equal; undefined until all were compared in this office. */
  readonly comparedEntries: number | undefined;
  readonly differing: number;
}

export class CopyPuller {
  readonly #world: World;
  readonly #hosted: HostedReplica;
  readonly #leader: Leader;
  readonly #source: KeyspaceSpec;
  readonly #partition: number;
  readonly #targetCount: number;
  #position: CopyPosition | undefined;
  #writtenMs = Number.NEGATIVE_INFINITY;
  #head: { readonly stampMs: number; readonly heardMs: number } | undefined;
  #isEmptied = false;
  #comparing: { readonly entries: number; readonly differing: number } | undefined;
  #proof: { readonly entries: number; readonly differing: number } | undefined;
  #stream: SimStream | undefined;
  #served: CopyStream | undefined;
  #queue: SourceMessage[] = [];
  #isBusy = false;
  #isRetrying = false;
  #isStopped = false;

  constructor(options: { world: World; hosted: HostedReplica; leader: Leader; source: KeyspaceSpec; partition: number; target: KeyspaceSpec }) {
    this.#world = options.world;
    this.#hosted = options.hosted;
    this.#leader = options.leader;
    this.#source = options.source;
    this.#partition = options.partition;
    this.#targetCount = options.target.partitionCount;
    this.#position = options.hosted.state.copies.get(options.partition);
    this.#begin();
  }

  status(nowMs: number): CopyStatus {
    const position = this.#position;
    const silentMs = this.#head === undefined ? 0 : nowMs - this.#head.heardMs;
    const lagMs = this.#head === undefined || position === undefined ? undefined : Math.max(0, this.#head.stampMs - position.stampMs) + (silentMs > SILENT_MS ? silentMs : 0);
    return { sourcePartition: this.#partition, isFollowing: position?.phase === 'FOLLOWING', lagMs, origin: position?.origin, comparedEntries: this.#proof?.entries, differing: this.#proof?.differing ?? 0 };
  }

  stop(): void {
    this.#isStopped = true;
    this.#leave();
  }

  #leave(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    this.#queue = [];
    stream?.break();
  }

  #retry(): void {
    this.#leave();
    if (this.#isRetrying || this.#isStopped) return;
    this.#isRetrying = true;
    this.#hosted.node.after(this.#world.dice.between(RETRY_MS / 2, RETRY_MS * 2), () => {
      this.#isRetrying = false;
      this.#begin();
    });
  }

  #begin(): void {
    if (this.#isStopped || this.#isBusy) return;
    const isEmpty = this.#position === undefined || this.#position.phase === 'EMPTYING';
    if (!isEmpty || this.#isEmptied) return this.#open();
    this.#isBusy = true;
    this.#take([], EMPTYING(this.#partition), (isTaken) => (isTaken ? this.#empty(FIRST_HASH) : this.#fail()));
  }

  /** What an earlier beginning left here goes. */
  #empty(from: Hash64): void {
    const slice = this.#hosted.state.store.readRange(from, undefined, { entriesMax: this.#world.dice.pick([2, 20]), bytesMax: 64 * 1024 });
    const gone = slice.entries.filter(({ key }) => this.#belongs(key)).map(({ key }): CopiedChange => ({ key: Buffer.from(key), value: undefined, expiresAtMs: 0 }));
    const go = (isTaken: boolean): void => {
      if (!isTaken) return this.#fail();
      if (slice.next !== undefined) return this.#hosted.node.after(1, () => (this.#isStopped ? undefined : this.#empty(slice.next!)));
      this.#isEmptied = true;
      this.#isBusy = false;
      this.#open();
    };
    if (gone.length === 0) go(true);
    else this.#take(gone, EMPTYING(this.#partition), go);
  }

  #fail(): void {
    this.#isBusy = false;
    this.#retry();
  }

  #open(): void {
    const { network } = this.#world;
    const { node } = this.#hosted;
    if (this.#isStopped || this.#stream !== undefined) return;
    // The source begins its comparison anew with each stream.
    this.#comparing = undefined;
    const slot = slotOf({ keyspace: this.#source.name, partition: this.#partition });
    const leader = node.view.partitions.get(partitionKey(slot))?.record.leader?.node;
    const target = leader === undefined ? undefined : this.#world.nodeOf(leader);
    if (target === undefined || network.isCut(node.id, target.id)) return this.#retry();
    const stream = network.open(node, target);
    this.#stream = stream;
    stream.onBreak('opener', () => {
      if (this.#stream === stream) this.#retry();
    });
    const at = this.#position?.phase === 'EMPTYING' ? undefined : this.#position;
    const targetSlot = this.#hosted.slot;
    const place = at && { origin: at.origin, next: at.next };
    stream.toAcceptor(() => {
      this.#served = new CopyStream({ world: this.#world, node: target, slot, stream, place, belongs: belongsTo(this.#source.partitionCount, this.#partition, this.#targetCount, targetSlot), deliver: (message) => this.#onMessage(stream, message) });
    });
  }

  #onMessage(stream: SimStream, message: SourceMessage): void {
    if (this.#stream !== stream || this.#isStopped) return;
    this.#queue.push(message);
    this.#drain();
  }

  #drain(): void {
    const stream = this.#stream;
    const served = this.#served;
    if (this.#isBusy || this.#isStopped || stream === undefined) return;
    const message = this.#queue.shift();
    if (message === undefined) return;
    this.#isBusy = true;
    const over = (isTaken: boolean): void => {
      this.#isBusy = false;
      if (this.#stream !== stream) return this.#begin();
      if (!isTaken) return this.#retry();
      stream.toAcceptor(() => served?.taken());
      this.#drain();
    };
    if (message.kind === 'read') return this.#apply(message, over);
    this.#proof = undefined;
    // Behind this entry nothing here counts as a copy of anything any more.
    this.#take([], EMPTYING(this.#partition), () => {
      this.#isBusy = false;
      this.#retry();
    });
  }

  #apply({ changes, place, stampMs, headStampMs, check }: Extract<SourceMessage, { kind: 'read' }>, over: (isTaken: boolean) => void): void {
    this.#isEmptied = false;
    const { origin, next } = place;
    const position: CopyPosition = { source: this.#partition, phase: next === undefined ? 'FOLLOWING' : 'COPYING', origin, stampMs, next };
    const { monotonicMs: heardMs } = this.#hosted.node.moment();
    this.#head = { stampMs: headStampMs, heardMs };
    const before = this.#position;
    const isQuiet = changes.length === 0 && position.phase === before?.phase && position.phase === 'FOLLOWING';
    const hasMoved = origin.seq !== before?.origin.seq || origin.generation !== before.origin.generation;
    const end = (isTaken: boolean): void => {
      if (isTaken && check !== undefined) this.#compare(check);
      over(isTaken);
    };
    if (isQuiet && (!hasMoved || heardMs - this.#writtenMs < PLACE_MS)) {
      this.#position = position;
      return end(true);
    }
    this.#take(changes, position, end);
  }

  #compare({ from, to, expiringByMs, digest }: SourceCheck): void {
    const isFirst = from.high === 0 && from.low === 0;
    const held = digestRange(this.#hosted.state.store, { from, to, belongs: this.#belongs, expiringByMs }, ALL).digest;
    const before = isFirst ? { entries: 0, differing: 0 } : this.#comparing;
    if (before === undefined) return;
    if (!isSameDigest(held, digest)) this.#world.copyChecker.differs(this.#hosted.slot, this.#partition, this.#position?.origin);
    this.#comparing = { entries: before.entries + digest.entries, differing: before.differing };
    if (to !== undefined) return;
    this.#proof = this.#comparing;
    this.#comparing = undefined;
  }

  /** `done`: whether all of it is committed here. */
  #take(changes: readonly CopiedChange[], position: CopyPosition, done: (isTaken: boolean) => void): void {
    const batch: CopiedBatch = { changes, position };
    const batches = [...(this.#world.mutant?.batches?.(batch) ?? [batch])];
    const go = (): void => {
      const next = batches.shift();
      if (next === undefined) {
        this.#position = position;
        this.#writtenMs = this.#hosted.node.moment().monotonicMs;
        return done(true);
      }
      if (this.#isStopped) return done(false);
      this.#leader.copy(next.changes, next.position, this.#hosted.node.moment(), (failure) => (failure === undefined ? go() : done(false)), { hasResults: true });
    };
    go();
  }

  readonly #belongs = (key: Uint8Array): boolean => partitionOfToken(tokenOfKey(key), this.#source.partitionCount) === this.#partition;
}

const EMPTYING = (source: number): CopyPosition => ({ source, phase: 'EMPTYING', origin: NOWHERE, stampMs: 0, next: undefined });

/** Keys of a partition of the source that are in a partition of the copy. */
function belongsTo(sourceCount: number, source: number, targetCount: number, targetSlot: number): (key: Uint8Array) => boolean {
  const target = placeOfSlot(targetSlot).partition;
  return (key) => {
    const token = tokenOfKey(key);
    return partitionOfToken(token, sourceCount) === source && partitionOfToken(token, targetCount) === target;
  };
}

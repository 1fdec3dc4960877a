import { hasReplica, type Action, type NodeInventory, type PartitionRecord } from '@atoll/core-membership';
import type { LogEntry, ReplicaState, WriteOutcome, WriteRequest } from '@atoll/core-replication';
import { CommittedModel, type DiskImage, type StateObserver } from '@atoll/core-replication/testing';
import { hash64, type ReplicaId } from '@atoll/core-runtime';
import { slotOf } from '../names.ts';

/** Where a replica's data is: in a process, or on the disk of one that is down. */
export type ReplicaWhereabouts = { readonly state: ReplicaState } | { readonly image: DiskImage } | undefined;

interface Place {
  readonly models: Map<number, CommittedModel>;
  readonly answeredSeq: Map<number, number>;
  readonly highestToken: Map<number, number>;
  actedEpoch: number;
  readonly digests: Map<string, string>;
}

/** Holds the invariants while a world runs: every method throws when one is broken. */
export class WorldChecker {
  readonly #find: (slot: number, replica: ReplicaId) => ReplicaWhereabouts;
  readonly #mayLoseData: boolean;
  readonly #isResettable: boolean;
  /** By slot. */
  readonly #places = new Map<number, Place>();
  readonly #lastApplied = new WeakMap<ReplicaState, number>();
  readonly #appended = new Set<number>();
  readonly #failed = new Set<number>();
  readonly #committedAt = new Map<number, number>();
  /** The keyspace whose log a client's write went into. */
  readonly #committedIn = new Map<number, string>();
  readonly #tokens = new Map<number, number>();
  readonly #tick: () => number;
  readonly #onCommitted: ((slot: number, model: CommittedModel, entry: LogEntry) => void) | undefined;
  readonly #recordOf: (slot: number) => PartitionRecord | undefined;
  installs = 0;
  resets = 0;
  promotions = 0;

  constructor(options: {
    mayLoseData: boolean;
    isResettable: boolean;
    find: (slot: number, replica: ReplicaId) => ReplicaWhereabouts;
    /** Now, in the order of the history's calls and returns. */
    tick: () => number;
    /** As etcd has it at this moment. */
    recordOf: (slot: number) => PartitionRecord | undefined;
    /** An entry was committed, as the first replica that applied it saw it. */
    onCommitted?: (slot: number, model: CommittedModel, entry: LogEntry) => void;
  }) {
    this.#tick = options.tick;
    this.#recordOf = options.recordOf;
    this.#find = options.find;
    this.#mayLoseData = options.mayLoseData;
    this.#isResettable = options.isResettable;
    this.#onCommitted = options.onCommitted;
  }

  #place(slot: number): Place {
    let place = this.#places.get(slot);
    if (place === undefined) this.#places.set(slot, (place = { models: new Map(), answeredSeq: new Map(), highestToken: new Map(), actedEpoch: 0, digests: new Map() }));
    return place;
  }

  model(slot: number, generation: number): CommittedModel {
    const { models } = this.#place(slot);
    let model = models.get(generation);
    if (model === undefined) models.set(generation, (model = new CommittedModel(generation)));
    return model;
  }

  /** When a write was committed first, in the order of the history; undefined when it never was. */
  committedAt(writeId: number): number | undefined {
    return this.#committedAt.get(writeId);
  }

  get committedCount(): number {
    return [...this.#places.values()].reduce((sum, { models }) => sum + [...models.values()].reduce((count, { endSeq }) => count + endSeq, 0), 0);
  }

  // --- replicas ---------------------------------------------------------------------------------------------------

  observer(slot: number): StateObserver {
    return {
      appended: (_state, entry) => this.#onAppended(entry),
      applied: (state, entry) => {
        const last = this.#lastApplied.get(state)!;
        if (entry.seq !== last + 1) throw new Error(`${state.identity.self.node} applied ${entry.seq} behind ${last} (I4)`);
        this.#lastApplied.set(state, entry.seq);
        const model = this.model(slot, state.generation.counter);
        const { endSeq, isCopy } = model;
        model.take(entry);
        if (model.endSeq === endSeq) return;
        this.#onCommitted?.(slot, model, entry);
        // What a copy takes was committed at its source.
        if (entry.opId === undefined || isCopy) return;
        const { counter } = entry.opId;
        const { keyspace } = state.identity;
        const first = this.#committedIn.get(counter);
        if (first !== undefined && first !== keyspace) throw new Error(`write ${counter} was committed in ${keyspace}, and in ${first} before (R21, R37)`);
        this.#committedIn.set(counter, keyspace);
        this.#committedAt.set(counter, this.#tick());
        this.#checkToken(slot, state.generation.counter, counter);
      },
      restarted: (state, seq) => {
        if (seq > 0 && this.#lastApplied.has(state)) this.installs += 1;
        this.#lastApplied.set(state, seq);
      },
    };
  }

  #onAppended({ opId }: LogEntry): void {
    if (opId === undefined) return;
    this.#appended.add(opId.counter);
    if (this.#failed.has(opId.counter)) this.#plainFailureBroken(opId.counter);
  }

  /** A client is about to send a write under the lock of its partition. */
  fenced(writeId: number, token: number): void {
    this.#tokens.set(writeId, token);
  }

  /** Writes under a lock are committed in the order of their fencing tokens (R38, I9). */
  #checkToken(slot: number, generation: number, writeId: number): void {
    const token = this.#tokens.get(writeId);
    if (token === undefined) return;
    const { highestToken } = this.#place(slot);
    const highest = highestToken.get(generation) ?? 0;
    if (token < highest) throw new Error(`write ${writeId} was committed under the fencing token ${token} after one under ${highest} (I9, R38)`);
    highestToken.set(generation, token);
  }

  // --- what clients are told --------------------------------------------------------------------------------------

  /** A leader of `epoch` answered something that only a leader may: a write, or a STRONG read (I1). */
  acted(slot: number, epoch: number, node: string): void {
    const place = this.#place(slot);
    if (epoch < place.actedEpoch) throw new Error(`${node} answered as leader of epoch ${epoch} of partition ${slot} after the leader of epoch ${place.actedEpoch} had (I1)`);
    place.actedEpoch = epoch;
  }

  /** A leader answers a write. */
  answered(state: ReplicaState, writeId: number, request: WriteRequest, outcome: WriteOutcome): void {
    if (outcome.kind !== 'done' || outcome.version === undefined || request.ack !== 'IN_SYNC') return;
    const { version } = outcome;
    const slot = slotOf(state.identity);
    const model = this.model(slot, version.generation);
    if (version.seq > model.endSeq) throw new Error(`write ${writeId} was answered by seq ${version.seq}, which is not committed (I2, R18)`);
    const { answeredSeq } = this.#place(slot);
    answeredSeq.set(version.generation, Math.max(answeredSeq.get(version.generation) ?? 0, version.seq));
    if (model.seqOf(writeId) === version.seq) model.checkAnswer(writeId, request, outcome.answer, version);
    const record = this.#recordOf(slot);
    if (record?.generation.counter === version.generation) this.#checkHolders(record, version.seq);
  }

  /** A client was told that its write certainly failed: it never got a seq (R20). */
  failed(writeId: number): void {
    this.#failed.add(writeId);
    if (this.#appended.has(writeId)) this.#plainFailureBroken(writeId);
  }

  #plainFailureBroken(writeId: number): never {
    throw new Error(`write ${writeId} failed plainly, but is in a log (R20)`);
  }

  // --- records ----------------------------------------------------------------------------------------------------

  /** A coordinator is about to write. */
  deciding(action: Action, inventory: (node: string) => NodeInventory | undefined): void {
    if (action.kind !== 'writeRecord' || action.record.leader === undefined) return;
    const { node } = action.record.leader;
    if (inventory(node) === undefined) throw new Error(`${action.decision} of ${node}, of which nothing is known`);
  }

  /** A coordinator of the term `term` wrote something, while `elected` was the term of the election. */
  onTermWrite(key: string, term: number, elected: number | undefined): void {
    if (term !== elected) throw new Error(`${key} was written by the coordinator of term ${term}, while ${elected ?? 'none'} was elected (I9, R11)`);
  }

  /** A record was written (R6, I1, I3). */
  onRecord(before: PartitionRecord | undefined, after: PartitionRecord): void {
    if (before === undefined) return;
    const name = `partition ${after.partition}`;
    if (after.epoch < before.epoch) throw new Error(`${name}: epoch ${after.epoch} was written over ${before.epoch} (I1)`);
    const isSameLeader = after.leader?.replica === before.leader?.replica && after.leaderIncarnation === before.leaderIncarnation;
    if (after.epoch === before.epoch && !isSameLeader) throw new Error(`${name}: another leader without a new epoch ${after.epoch} (I1, R2)`);
    if (after.generation.counter !== before.generation.counter) return this.#checkReset(before, after);
    if (after.leader === undefined || isSameLeader) return this.#checkInSync(after);
    this.promotions += 1;
    const isMember = hasReplica(before.inSync, after.leader.replica) || hasReplica(before.eligible, after.leader.replica);
    if (!isMember) throw new Error(`${name}: ${after.leader.node} leads epoch ${after.epoch} from outside the in-sync set (I3)`);
    this.#checkInSync(after);
  }

  /** Data is given up: only what nobody holds any more, unless the keyspace says otherwise (R15, R31). */
  #checkReset(before: PartitionRecord, after: PartitionRecord): void {
    this.resets += 1;
    if (!this.#mayLoseData) throw new Error(`partition ${after.partition} was reset although no data was lost (R31)`);
    const holder = [...before.inSync, ...before.eligible].find(({ replica }) => this.#find(slotOf(before), replica) !== undefined);
    if (holder !== undefined && !this.#isResettable) throw new Error(`partition ${after.partition} was reset although ${holder.node} holds its data (R31)`);
  }

  /** Every member of the in-sync set has every write that was answered (I2). */
  #checkInSync(record: PartitionRecord): void {
    const { generation } = record;
    const seq = this.#place(slotOf(record)).answeredSeq.get(generation.counter) ?? 0;
    if (seq > 0) this.#checkHolders(record, seq);
  }

  #checkHolders({ keyspace, partition, generation, inSync }: PartitionRecord, seq: number): void {
    const slot = slotOf({ keyspace, partition });
    const epoch = this.model(slot, generation.counter).epochAt(seq)!;
    for (const member of inSync) {
      const found = this.#find(slot, member.replica);
      if (found !== undefined && !holds(found, { epoch, seq })) {
        throw new Error(`${member.node} is in sync in partition ${partition} without seq ${seq}, which was answered (I2)`);
      }
    }
  }

  // --- contents ---------------------------------------------------------------------------------------------------

  /** Equal positions, equal entries (I6), and bounds (I10). */
  checkReplica(state: ReplicaState, logBytesMax: number): void {
    const { node } = state.identity.self;
    if (state.log.bytes > 2 * logBytesMax + LOG_SLACK_BYTES) throw new Error(`${node} keeps ${state.log.bytes} bytes of log (I10)`);
    if (!state.isInstalled || state.generation.counter === 0) return;
    const { partition } = state.identity;
    const slot = slotOf(state.identity);
    const { epoch, seq } = state.appliedPosition;
    const { leaves, count } = state.store.digest();
    const { high, low } = hash64(new Uint8Array(leaves.buffer, leaves.byteOffset, leaves.byteLength), 0n);
    const digest = `${count}/${high}/${low}`;
    const position = `${state.generation.counter},${epoch},${seq}`;
    const { digests } = this.#place(slot);
    const known = digests.get(position);
    if (known === undefined) digests.set(position, digest);
    else if (known !== digest) throw new Error(`${node} differs from another replica of partition ${partition} at (${position}): ${digest} and ${known} (I6)`);
    const model = this.model(slot, state.generation.counter);
    if (seq === model.endSeq && count !== model.entries.size) {
      throw new Error(`${node} has ${count} entries at (${position}), the log makes it ${model.entries.size} (I6, I7)`);
    }
  }

  /** Target and leader differ at one marker. */
  compared({ partition }: PartitionRecord, node: string, leaves: readonly number[]): never {
    throw new Error(`${node} differs from the leader of partition ${partition} in ${leaves.length} sub-ranges at one marker (I6, R34)`);
  }

  /** Every entry as the committed log makes it; for a replica that has applied all of it (I6, I7). */
  checkContent(state: ReplicaState): void {
    const model = this.model(slotOf(state.identity), state.generation.counter);
    const { node } = state.identity.self;
    const { entries } = state.store.readRange({ high: 0, low: 0 }, undefined, { entriesMax: 1_000_000, bytesMax: 2 ** 40 });
    for (const { key, value, version, expiresAtMs } of entries) {
      const expected = model.entries.get(Buffer.from(key).toString('latin1'));
      if (expected === undefined) throw new Error(`${node} holds a key of seq ${version.seq} that is gone (I7)`);
      const isEqual = expected.version.seq === version.seq && expected.version.epoch === version.epoch && expected.expiresAtMs === expiresAtMs;
      if (!isEqual || Buffer.compare(expected.value, value) !== 0) throw new Error(`${node} holds seq ${version.seq} of a key whose newest is ${expected.version.seq} (I6)`);
    }
    if (entries.length !== model.entries.size) throw new Error(`${node} holds ${entries.length} of ${model.entries.size} entries (I6)`);
  }
}

/** What a log may hold beyond twice its bound: entries under way, and the chunk that its tail is trimmed by. */
const LOG_SLACK_BYTES = 64 * 1024;

function holds(found: Exclude<ReplicaWhereabouts, undefined>, { epoch, seq }: { epoch: number; seq: number }): boolean {
  if ('image' in found) return found.image.isWhole && found.image.endSeq >= seq;
  const { state } = found;
  if (!state.isInstalled || state.appendedSeq < seq) return false;
  return seq <= state.log.base.seq || state.log.positionAt(seq).epoch === epoch;
}

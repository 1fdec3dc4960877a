import { assertRecord, type VersionedRecord } from '@atoll/core-membership';
import { hash64, type ReplicaId } from '@atoll/core-runtime';
import type { LogEntry } from '../log-entry.ts';
import type { ReplicaState } from '../replica-state.ts';
import type { WriteRequest } from '../replica-types.ts';
import { toKeyText, type WriteOutcome } from '../uncommitted.ts';
import { CommittedModel } from './committed-model.ts';
import type { StateObserver } from './observed-state.ts';
import type { DiskImage } from './simulated-disk.ts';

interface IssuedWrite {
  readonly request: WriteRequest;
  outcome: WriteOutcome | undefined;
}

/** Where a replica's data is: in a process, or on the disk of one that is down. */
export type ReplicaWhereabouts = { readonly state: ReplicaState } | { readonly image: DiskImage } | undefined;

/** Holds the invariants while a world runs: every method throws when one is broken. */
export class WorldChecker implements StateObserver {
  readonly model = new CommittedModel(1);
  readonly #find: (replica: ReplicaId) => ReplicaWhereabouts;
  readonly #writes: IssuedWrite[] = [];
  readonly #appendedWrites = new Set<number>();
  readonly #lastApplied = new Map<ReplicaState, number>();
  readonly #digests = new Map<string, string>();
  #answeredSeq = 0;
  #installCount = 0;

  constructor(find: (replica: ReplicaId) => ReplicaWhereabouts) {
    this.#find = find;
  }

  get writeCount(): number {
    return this.#writes.length;
  }

  /** How many writes were answered as done. */
  get doneCount(): number {
    return this.#writes.filter(({ outcome }) => outcome?.kind === 'done').length;
  }

  // --- StateObserver ----------------------------------------------------------------------------------------------

  appended(_state: ReplicaState, entry: LogEntry): void {
    if (entry.opId === undefined) return;
    const writeId = entry.opId.counter;
    this.#appendedWrites.add(writeId);
    this.#checkPlainFailure(writeId);
  }

  applied(state: ReplicaState, entry: LogEntry): void {
    const last = this.#lastApplied.get(state)!;
    if (entry.seq !== last + 1) throw new Error(`${state.identity.self.node} applied ${entry.seq} behind ${last} (I4)`);
    this.#lastApplied.set(state, entry.seq);
    this.model.take(entry);
  }

  /** Installs that began. */
  get installCount(): number {
    return this.#installCount;
  }

  restarted(state: ReplicaState, seq: number): void {
    if (seq > 0 && this.#lastApplied.has(state)) this.#installCount += 1;
    this.#lastApplied.set(state, seq);
  }

  // --- writes and reads -------------------------------------------------------------------------------------------

  issued(request: (writeId: number) => WriteRequest): { readonly writeId: number; readonly request: WriteRequest } {
    const writeId = this.#writes.length;
    const made = request(writeId);
    this.#writes.push({ request: made, outcome: undefined });
    return { writeId, request: made };
  }

  answered(writeId: number, outcome: WriteOutcome, current: VersionedRecord): void {
    const write = this.#writes[writeId]!;
    if (write.outcome !== undefined) throw new Error(`write ${writeId} was answered twice`);
    write.outcome = outcome;
    this.#checkPlainFailure(writeId);
    if (outcome.kind !== 'done' || outcome.version === undefined) return;
    const isLogged = this.#appendedWrites.has(writeId);
    if (!isLogged) {
      // It changed nothing, and rests on a committed write (R18).
      if (outcome.version.seq > this.model.endSeq) throw new Error(`write ${writeId} was answered by ${outcome.version.seq}, which is not committed (R18)`);
      return;
    }
    if (write.request.ack !== 'IN_SYNC') return;
    if (this.model.seqOf(writeId) !== outcome.version.seq) throw new Error(`write ${writeId} was answered at IN_SYNC before its commit (I2)`);
    this.model.checkAnswer(writeId, write.request, outcome.answer, outcome.version);
    this.#answeredSeq = Math.max(this.#answeredSeq, outcome.version.seq);
    this.checkInSync(current);
  }

  /** A STRONG read that a leader answered at once: the newest committed state (R19, I5). */
  checkRead(key: Uint8Array, found: { readonly value: Uint8Array } | undefined): void {
    const expected = this.model.entries.get(toKeyText(key));
    const isEqual = expected === undefined ? found === undefined : found !== undefined && Buffer.compare(expected.value, found.value) === 0;
    if (!isEqual) throw new Error('a STRONG read showed another value than the newest committed one (I5)');
  }

  // --- invariants -------------------------------------------------------------------------------------------------

  /** The record holds together, and every member of its in-sync set has every write that was answered (I2). */
  checkInSync({ record }: VersionedRecord): void {
    assertRecord(record);
    const seq = this.#answeredSeq;
    if (seq === 0) return;
    const epoch = this.model.epochAt(seq)!;
    for (const member of record.inSync) {
      const found = this.#find(member.replica);
      if (found === undefined) continue;
      if (!holds(found, { epoch, seq })) throw new Error(`${member.node} is in sync without seq ${seq}, which was answered (I2)`);
    }
  }

  /** Equal positions, equal entries (I6). */
  checkDigest(state: ReplicaState): void {
    if (!state.isInstalled || state.generation.counter === 0) return;
    const { epoch, seq } = state.appliedPosition;
    const { leaves, count } = state.store.digest();
    const { high, low } = hash64(new Uint8Array(leaves.buffer, leaves.byteOffset, leaves.byteLength), 0n);
    const digest = `${count}/${high}/${low}`;
    const place = `${epoch},${seq}`;
    const known = this.#digests.get(place);
    if (known === undefined) this.#digests.set(place, digest);
    else if (known !== digest) throw new Error(`${state.identity.self.node} differs from another replica at (${place}): ${digest} and ${known} (I6)`);
    if (seq === this.model.endSeq && count !== this.model.entries.size) {
      throw new Error(`${state.identity.self.node} has ${count} entries at (${place}), the log makes it ${this.model.entries.size} (I6, I7)`);
    }
  }

  /** Every entry as the committed log makes it; for a replica that has applied all of it (I6, I7). */
  checkContent(state: ReplicaState): void {
    const { entries } = state.store.readRange({ high: 0, low: 0 }, undefined, { entriesMax: 1_000_000, bytesMax: 2 ** 40 });
    const { node } = state.identity.self;
    for (const { key, value, version, expiresAtMs } of entries) {
      const expected = this.model.entries.get(toKeyText(key));
      if (expected === undefined) throw new Error(`${node} holds a key of seq ${version.seq} that is gone (I7)`);
      const isEqual = expected.version.seq === version.seq && expected.version.epoch === version.epoch && expected.expiresAtMs === expiresAtMs;
      if (!isEqual || Buffer.compare(expected.value, value) !== 0) throw new Error(`${node} holds seq ${version.seq} of a key whose newest is ${expected.version.seq} (I6)`);
    }
    if (entries.length !== this.model.entries.size) throw new Error(`${node} holds ${entries.length} of ${this.model.entries.size} entries (I6)`);
  }

  /** Answers against the whole log, also those of ack LEADER that the log kept. */
  checkEnd(): void {
    const versions = new Set<string>();
    this.#writes.forEach(({ request, outcome }, writeId) => {
      if (outcome?.kind !== 'done' || outcome.version === undefined || !this.#appendedWrites.has(writeId)) return;
      const { epoch, seq } = outcome.version;
      if (versions.has(`${epoch},${seq}`)) throw new Error(`version (${epoch},${seq}) was given to two writes`);
      versions.add(`${epoch},${seq}`);
      if (this.model.seqOf(writeId) !== undefined || request.ack === 'IN_SYNC') this.model.checkAnswer(writeId, request, outcome.answer, outcome.version);
    });
  }

  /** A write that was answered with a plain failure never got a seq (R20). */
  #checkPlainFailure(writeId: number): void {
    const outcome = this.#writes[writeId]?.outcome;
    if (outcome?.kind !== 'failed' || outcome.reason === 'WRITE_IN_DOUBT' || !this.#appendedWrites.has(writeId)) return;
    throw new Error(`write ${writeId} failed with ${outcome.reason}, but is in a log (R20)`);
  }
}

function holds(found: Exclude<ReplicaWhereabouts, undefined>, { epoch, seq }: { epoch: number; seq: number }): boolean {
  if ('image' in found) return found.image.isWhole && found.image.endSeq >= seq;
  const { state } = found;
  if (!state.isInstalled || state.appendedSeq < seq) return false;
  return seq <= state.log.base.seq || state.log.positionAt(seq).epoch === epoch;
}

// Changes of the in-sync set, which only the leader makes (R6), one at a time. The rules about what counts while the
// answer to a compare-and-swap is not known are R7's:
//
//   1. the leader sends "remove B" compared with revision 8; the answer is lost
//   2. a read shows the record unchanged, at revision 8: it is not settled, the request may still arrive
//   3. so both sets go on to count, until a further compare-and-swap from revision 8 succeeded, or the record is
//      seen at a higher revision: from then on nothing that compares 8 can succeed
import {
  hasReplica,
  withoutReplica,
  type Member,
  type PartitionRecord,
  type VersionedRecord,
} from '@atoll/core-membership';
import type { ReplicaId } from '@atoll/core-runtime';

/** One compare-and-swap that was sent and is not settled. */
export interface ChangeAttempt {
  readonly changeId: string;
  readonly baseRevision: number;
  readonly record: PartitionRecord;
}

/** The record in force, and every attempt that may replace it. */
export class RecordInForce {
  #current: VersionedRecord;
  #attempts: ChangeAttempt[] = [];
  #version = -1;
  // Asked with every write and acknowledgement, and other ones only when the version is.
  #required: readonly Member[] = [];
  #smallestSet = 0;
  #mayHaveEligible = false;

  constructor(current: VersionedRecord) {
    this.#current = current;
    this.#recount();
  }

  get current(): VersionedRecord {
    return this.#current;
  }

  get record(): PartitionRecord {
    return this.#current.record;
  }

  /** Whether a change is under way or in doubt. */
  get isChanging(): boolean {
    return this.#attempts.length > 0;
  }

  /** Grows whenever the replicas that count may be others. */
  get version(): number {
    return this.#version;
  }

  /** A newer record ends every attempt: none that compares an older revision can succeed any more. */
  adopt(versioned: VersionedRecord): boolean {
    if (versioned.modRevision <= this.#current.modRevision) return false;
    this.#current = versioned;
    this.#attempts = [];
    this.#recount();
    return true;
  }

  begin(record: PartitionRecord): ChangeAttempt {
    const attempt = { changeId: record.changeId, baseRevision: this.#current.modRevision, record };
    // Attempts that say the same count as one, so that their number is bounded while etcd is away (I10).
    const isSame = (earlier: PartitionRecord): boolean => isSameSet(earlier.inSync, record.inSync) && isSameSet(earlier.eligible, record.eligible);
    this.#attempts = [...this.#attempts.filter((earlier) => !isSame(earlier.record)), attempt];
    this.#recount();
    return attempt;
  }

  /** The attempt succeeded: it is the record now. */
  succeed(attempt: ChangeAttempt, modRevision: number): boolean {
    return this.adopt({ record: attempt.record, modRevision });
  }

  /** Replicas that must have an entry before it commits: the members of the recorded set and of all that may be (I2). */
  required(): readonly Member[] {
    return this.#required;
  }

  isRequired(replica: ReplicaId): boolean {
    return hasReplica(this.#required, replica);
  }

  /** Size of the smallest set that may be in force (R9). */
  get smallestSet(): number {
    return this.#smallestSet;
  }

  /** Whether somebody outside the set may be named as one who holds every committed write: nothing may commit then (R9). */
  get mayHaveEligible(): boolean {
    return this.#mayHaveEligible;
  }

  #recount(): void {
    this.#version += 1;
    const records = [this.record, ...this.#attempts.map(({ record }) => record)];
    const required: Member[] = [];
    for (const { inSync } of records) {
      for (const member of inSync) if (!hasReplica(required, member.replica)) required.push(member);
    }
    this.#required = required;
    this.#smallestSet = Math.min(...records.map(({ inSync }) => inSync.length));
    this.#mayHaveEligible = records.some(({ eligible }) => eligible.length > 0);
  }
}

function isSameSet(a: readonly Member[], b: readonly Member[]): boolean {
  return a.length === b.length && a.every(({ replica }) => hasReplica(b, replica));
}

/**
 * The record without `member` in its in-sync set: it goes on as a learner, unless it is to leave. Below `minInSync`
 * it stays eligible, since nothing commits without it (R9, KIP-966).
 */
export function withoutInSync(record: PartitionRecord, member: Member, options: { minInSync: number; changeId: string }): PartitionRecord {
  const inSync = withoutReplica(record.inSync, member.replica);
  const isLeaving = hasReplica(record.leaving, member.replica);
  return {
    ...record,
    changeId: options.changeId,
    inSync,
    eligible: inSync.length < options.minInSync ? [...withoutReplica(record.eligible, member.replica), member] : [],
    learners: isLeaving ? record.learners : [...withoutReplica(record.learners, member.replica), member],
  };
}

/** The record with the learner `member` in its in-sync set (R8: the caller has seen that it has every committed entry). */
export function withInSync(record: PartitionRecord, member: Member, options: { minInSync: number; changeId: string }): PartitionRecord {
  const inSync = [...record.inSync, member];
  return {
    ...record,
    changeId: options.changeId,
    inSync,
    eligible: inSync.length < options.minInSync ? withoutReplica(record.eligible, member.replica) : [],
    learners: withoutReplica(record.learners, member.replica),
  };
}

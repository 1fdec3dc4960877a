// Whether etcd went back: it was restored from a backup, or wiped, and shows less than was seen (R13). Each process
// remembers the highest revisions that it saw. Two are needed: a restored etcd goes on counting, and may soon have
// passed the highest revision of before with news that are none (registrations, elections).
//
//   revision         of etcd as a whole
//   changeRevision   of the key that every change of configuration writes in its own transaction: what stands there is
//                    older than what was seen exactly when a change that was seen is gone
import type { VersionedRecord } from '../partition-record.ts';

/** The highest that one process saw. */
export interface MetadataMark {
  /** Of etcd. */
  readonly revision: number;
  /** Of the last change of configuration; 0: none was seen. */
  readonly changeRevision: number;
}

/** What one linearizable look at etcd showed. */
export interface MetadataSight extends MetadataMark {
  /** Of the cluster whose metadata lies there; undefined: nobody has written it. */
  readonly clusterId: string | undefined;
  /** Modification revision of the newest word that all was recovered; 0 without one. */
  readonly recoveryRevision: number;
  /** What somebody who remembered more wrote into this etcd, so that all others know; empty: nobody did. */
  readonly noticed: readonly string[];
}

/** What a look is compared with: the mark when it was sent, and after how many recoveries that was. */
export interface SentLook {
  readonly mark: MetadataMark;
  readonly recoveries: number;
}

/** A mark of an earlier life. */
export interface SeenMark {
  readonly clusterId: string;
  readonly mark: MetadataMark;
}

export type MarkChange = 'unchanged' | 'regressed' | 'recovered';

export const NO_MARK: MetadataMark = { revision: 0, changeRevision: 0 };

/** Reasons that are kept: enough to see what happened. */
const REASONS_MAX = 10;

/**
 * Once etcd went back the mark stands still, until etcd has no note of it any more and a word of recovery that was written above the mark: who
 * recovers first raises etcd's revision above everything that was seen (so that fencing tokens and modification
 * revisions only grow, whatever was lost), and writes that word last.
 */
export class HighWaterMark {
  #mark: MetadataMark;
  #own: MetadataMark;
  #clusterId: string | undefined;
  #seenIn: string | undefined;
  #recoveryRevision = 0;
  #recoveries = 0;
  #reasons: string[] = [];

  /** `seen`: what this process, or its data, saw before, in the cluster of that id; it says nothing of another one. */
  constructor(seen?: SeenMark) {
    this.#mark = seen?.mark ?? NO_MARK;
    this.#own = this.#mark;
    this.#seenIn = seen?.clusterId;
  }

  get mark(): MetadataMark {
    return this.#mark;
  }

  /** For a look that is sent now. */
  get sending(): SentLook {
    return { mark: this.#mark, recoveries: this.#recoveries };
  }

  /** Without what others told. */
  get own(): MetadataMark {
    return this.#own;
  }

  /** What went back, from what to what, for people; empty while nothing did. */
  get reasons(): readonly string[] {
    return this.#reasons;
  }

  get isRegressed(): boolean {
    return this.#reasons.length > 0;
  }

  /** Of the newest word of recovery that was seen in etcd, 0 without one. */
  get recoveryRevision(): number {
    return this.#recoveryRevision;
  }

  /** The cluster's id as it was seen; undefined before the first look. */
  get clusterId(): string | undefined {
    return this.#clusterId;
  }

  /** A revision came with an answer, or in a stream that began in what was found sound. */
  note(seen: Partial<MetadataMark>): void {
    if (!this.isRegressed) this.#take(seen);
  }

  /**
   * Another process saw so much. `isRegressed`: it holds etcd to have gone back too; the mark of one that does not is
   * of no use to one that does, since it may count what came since.
   */
  raise(seen: MetadataMark, isRegressed: boolean): boolean {
    if (this.isRegressed && !isRegressed) return false;
    const before = this.#mark;
    this.#mark = highest(before, seen);
    return before.revision < seen.revision || before.changeRevision < seen.changeRevision;
  }

  /**
   * `sent`: `sending` when the look was sent. What was noted meanwhile may be newer than the answer; one that was sent
   * before a recovery tells of what is over.
   */
  observe(sight: MetadataSight, { mark: sent, recoveries }: SentLook): MarkChange {
    if (recoveries !== this.#recoveries) return 'unchanged';
    this.#recoveryRevision = sight.recoveryRevision;
    if (this.isRegressed) {
      if (sight.recoveryRevision <= this.#mark.revision || sight.noticed.length > 0) return 'unchanged';
      this.#reasons = [];
      this.#recoveries += 1;
      this.#begin(sight);
      return 'recovered';
    }
    if (this.#seenIn !== undefined && sight.clusterId !== undefined) {
      const isOther = sight.clusterId !== this.#seenIn;
      this.#seenIn = undefined;
      this.#clusterId = sight.clusterId;
      if (isOther) return this.#begin(sight);
    }
    const reasons: string[] = [];
    if (sight.revision < sent.revision) reasons.push(`etcd's revision went back from ${sent.revision} to ${sight.revision}`);
    if (sight.changeRevision < sent.changeRevision) reasons.push(`the last change of configuration went back from revision ${sent.changeRevision} to ${sight.changeRevision}`);
    if (this.#clusterId !== undefined && sight.clusterId !== this.#clusterId) reasons.push(`the cluster's id went from ${this.#clusterId} to ${sight.clusterId ?? 'none'}`);
    if (reasons.length > 0) return this.regress(reasons);
    this.#clusterId = sight.clusterId;
    this.#take(sight);
    return this.regress(sight.noticed);
  }

  #begin({ revision, changeRevision, clusterId, noticed }: MetadataSight): MarkChange {
    this.#mark = { revision, changeRevision };
    this.#own = this.#mark;
    this.#clusterId = clusterId;
    return this.regress(noticed);
  }

  #take(seen: Partial<MetadataMark>): void {
    this.#mark = highest(this.#mark, seen);
    this.#own = highest(this.#own, seen);
  }

  /** Something else showed that etcd went back: records (`olderThan`), or another process. */
  regress(reasons: readonly string[]): MarkChange {
    if (reasons.length === 0) return 'unchanged';
    const wasRegressed = this.isRegressed;
    for (const reason of reasons) if (this.#reasons.length < REASONS_MAX && !this.#reasons.includes(reason)) this.#reasons.push(reason);
    return wasRegressed ? 'unchanged' : 'regressed';
  }
}

/**
 * What of the records that were seen is older now: a lower generation or epoch, or a lower modification revision. One
 * that is missing tells nothing by itself: it may have been deleted, which moves the last change of configuration on.
 */
export function olderThan(seen: ReadonlyMap<string, VersionedTerm>, now: Iterable<readonly [string, VersionedTerm]>): readonly string[] {
  const reasons: string[] = [];
  for (const [key, present] of now) {
    const before = seen.get(key);
    if (before === undefined) continue;
    if (isOlderTerm(present.term, before.term)) reasons.push(`${key} went back from ${termText(before.term!)} to ${termText(present.term!)}`);
    else if (present.modRevision < before.modRevision) reasons.push(`${key} went back from revision ${before.modRevision} to ${present.modRevision}`);
    if (reasons.length === REASONS_MAX) break;
  }
  return reasons;
}

/** Where a record stands: for a partition with its term. */
export interface VersionedTerm {
  readonly modRevision: number;
  readonly term?: RecordTerm | undefined;
}

export interface RecordTerm {
  readonly keyspaceId: string;
  readonly generation: number;
  readonly epoch: number;
}

export function termOf({ record, modRevision }: VersionedRecord): VersionedTerm {
  return { modRevision, term: { keyspaceId: record.keyspaceId, generation: record.generation.counter, epoch: record.epoch } };
}

/** Of one keyspace: another one of the same name begins anew. */
function isOlderTerm(now: RecordTerm | undefined, before: RecordTerm | undefined): boolean {
  if (now === undefined || now.keyspaceId !== before?.keyspaceId) return false;
  return now.generation < before.generation || (now.generation === before.generation && now.epoch < before.epoch);
}

const termText = ({ generation, epoch }: RecordTerm): string => `generation ${generation} epoch ${epoch}`;

function highest(a: MetadataMark, b: Partial<MetadataMark>): MetadataMark {
  return { revision: Math.max(a.revision, b.revision ?? 0), changeRevision: Math.max(a.changeRevision, b.changeRevision ?? 0) };
}

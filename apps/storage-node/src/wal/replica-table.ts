// What the log says about each replica, kept the same way while records are written and while they are read
// back: `apply` is the one place that knows what a record means.
import type { ReplicaId } from '@atoll/core-runtime';
import type { CheckpointReference, LogRecord, ReplicaSummary } from './log-record.ts';
import type { ReplicaGeneration, ReplicaIdentity } from './wal.ts';

/** Entries of one replica in one segment that still count. */
interface Span {
  readonly segment: number;
  readonly firstSeq: number;
  lastSeq: number;
}

export interface ReplicaLog {
  readonly identity: ReplicaIdentity;
  generation: ReplicaGeneration;
  /** Log position of the record that began the present lineage: entries before it are void. */
  lineagePosition: number;
  checkpoint: CheckpointReference | undefined;
  committedSeq: number;
  /** First seq of this lineage in the log; undefined while it holds none. */
  firstSeq: number | undefined;
  /** Last seq in the log or checkpoint; undefined while both are empty. */
  lastSeq: number | undefined;
  /** In order of segment and of seq; all behind the checkpoint. */
  spans: Span[];
}

/** Where a record stands. */
export interface RecordPlace {
  readonly segment: number;
  readonly position: number;
}

export class ReplicaTable {
  readonly #replicas = new Map<ReplicaId, ReplicaLog>();
  /** Checkpoint files that no record needs any more; the owner takes them and removes the files. */
  #obsoleteFiles: string[] = [];

  get(replicaId: ReplicaId): ReplicaLog | undefined {
    return this.#replicas.get(replicaId);
  }

  /** @throws Error for an id that the log does not hold: a bug of the caller, or of the log. */
  require(replicaId: ReplicaId): ReplicaLog {
    const replica = this.#replicas.get(replicaId);
    if (replica === undefined) throw new Error(`the log holds no replica ${replicaId}`);
    return replica;
  }

  all(): IterableIterator<ReplicaLog> {
    return this.#replicas.values();
  }

  takeObsoleteFiles(): string[] {
    const files = this.#obsoleteFiles;
    this.#obsoleteFiles = [];
    return files;
  }

  /** @throws Error where the record cannot follow those before it. */
  apply(record: LogRecord, place: RecordPlace): void {
    switch (record.kind) {
      case 'STATE':
        return this.#setReplicas(record.replicas, place);
      case 'CREATE':
        if (this.#replicas.has(record.identity.replicaId)) throw new Error(`replica ${record.identity.replicaId} exists`);
        this.#replicas.set(
          record.identity.replicaId,
          fromSummary({ identity: record.identity, generation: record.generation, committedSeq: 0 }, place),
        );
        return;
      case 'GENERATION': {
        const replica = this.require(record.replicaId);
        this.#retire(replica.checkpoint);
        Object.assign(replica, fromSummary({ identity: replica.identity, generation: record.generation, committedSeq: 0 }, place));
        return;
      }
      case 'ENTRIES':
        return append(this.require(record.replicaId), record, place.segment);
      case 'TRUNCATE':
        return truncate(this.require(record.replicaId), record.toSeq);
      case 'COMMITTED': {
        const replica = this.require(record.replicaId);
        replica.committedSeq = Math.max(replica.committedSeq, record.seq);
        return;
      }
      case 'CHECKPOINT': {
        const replica = this.require(record.replicaId);
        this.#retire(replica.checkpoint);
        return setCheckpoint(replica, record.checkpoint);
      }
      case 'DROP':
        this.#retire(this.require(record.replicaId).checkpoint);
        this.#replicas.delete(record.replicaId);
        return;
      case 'CLEAN':
        return;
    }
  }

  summaries(): ReplicaSummary[] {
    return [...this.#replicas.values()].map(({ identity, generation, checkpoint, committedSeq, firstSeq, lastSeq }) => ({
      identity,
      generation,
      committedSeq,
      ...(checkpoint !== undefined && { checkpoint }),
      ...(firstSeq !== undefined && { firstSeq }),
      ...(lastSeq !== undefined && { lastSeq }),
    }));
  }

  /** First segment with an entry that still counts; Infinity if there is none. */
  oldestPinnedSegment(): number {
    let oldest = Infinity;
    for (const replica of this.#replicas.values()) oldest = Math.min(oldest, pinnedSegment(replica));
    return oldest;
  }

  /**
   * The first STATE that is read begins the table. A later one repeats it, but for the ASYNC replicas that were
   * dropped when the log was opened in between (R1).
   */
  #setReplicas(summaries: readonly ReplicaSummary[], place: RecordPlace): void {
    const listed = new Set(summaries.map((summary) => summary.identity.replicaId));
    for (const replicaId of this.#replicas.keys()) if (!listed.has(replicaId)) this.#replicas.delete(replicaId);
    for (const summary of summaries) {
      const { replicaId } = summary.identity;
      if (!this.#replicas.has(replicaId)) this.#replicas.set(replicaId, fromSummary(summary, place));
    }
  }

  #retire(checkpoint: CheckpointReference | undefined): void {
    if (checkpoint !== undefined) this.#obsoleteFiles.push(checkpoint.file);
  }
}

/** First segment that `replica` needs; Infinity if it needs none. */
export function pinnedSegment(replica: ReplicaLog): number {
  return replica.spans[0]?.segment ?? Infinity;
}

/** Throws what a batch or truncation that breaks I4 or R28 is: a bug of the caller. */
export function assertFollows(replica: ReplicaLog, batch: { readonly firstSeq: number; readonly lastSeq: number }): void {
  if (batch.firstSeq < 1 || batch.lastSeq < batch.firstSeq) throw new Error(`a batch cannot hold seq ${batch.firstSeq} to ${batch.lastSeq}`);
  if (replica.lastSeq !== undefined && batch.firstSeq !== replica.lastSeq + 1)
    throw new Error(`replica ${replica.identity.replicaId}: seq ${batch.firstSeq} cannot follow seq ${replica.lastSeq} (I4)`);
}

export function assertTruncatable(replica: ReplicaLog, toSeq: number): void {
  const appliedSeq = replica.checkpoint?.applied.seq ?? 0;
  if (toSeq < appliedSeq)
    throw new Error(`replica ${replica.identity.replicaId}: truncation to seq ${toSeq} would undo applied entries up to ${appliedSeq} (R28)`);
}

function fromSummary(summary: ReplicaSummary, place: RecordPlace): ReplicaLog {
  return {
    identity: summary.identity,
    generation: summary.generation,
    lineagePosition: place.position,
    checkpoint: summary.checkpoint,
    committedSeq: summary.committedSeq,
    firstSeq: summary.firstSeq,
    lastSeq: summary.lastSeq,
    spans: [],
  };
}

function append(replica: ReplicaLog, batch: { firstSeq: number; lastSeq: number }, segment: number): void {
  assertFollows(replica, batch);
  replica.firstSeq ??= batch.firstSeq;
  replica.lastSeq = batch.lastSeq;
  const last = replica.spans.at(-1);
  if (last?.segment === segment) last.lastSeq = batch.lastSeq;
  else replica.spans.push({ segment, firstSeq: batch.firstSeq, lastSeq: batch.lastSeq });
}

function truncate(replica: ReplicaLog, toSeq: number): void {
  assertTruncatable(replica, toSeq);
  if (replica.lastSeq === undefined || toSeq >= replica.lastSeq) return;
  replica.spans = replica.spans.filter((span) => span.firstSeq <= toSeq);
  const last = replica.spans.at(-1);
  if (last !== undefined) last.lastSeq = Math.min(last.lastSeq, toSeq);
  const holdsNothing = replica.firstSeq === undefined || replica.firstSeq > toSeq;
  if (holdsNothing) replica.firstSeq = undefined;
  replica.lastSeq = holdsNothing ? replica.checkpoint?.applied.seq : toSeq;
}

function setCheckpoint(replica: ReplicaLog, checkpoint: CheckpointReference): void {
  const { seq } = checkpoint.applied;
  replica.checkpoint = checkpoint;
  replica.committedSeq = Math.max(replica.committedSeq, seq);
  replica.spans = replica.spans.filter((span) => span.lastSeq > seq);
  if (replica.lastSeq === undefined || replica.lastSeq <= seq) {
    replica.firstSeq = undefined;
    replica.lastSeq = seq;
  }
}

// How copies are written so that nothing of them is written twice, lost or half there, whatever becomes of an answer (R7): only the
// elected coordinator writes them, and after a refusal or a lost answer everything is read again. A lost write that is carried out
// later does no harm: it compares what stood there before, and whatever is written next makes that another one. Each task says
// what it wants done and is told how that went; the shell does it, one task at a time.
import { AtollError } from '@atoll/core-errors';
import type { KeyspaceSpec } from '@atoll/core-membership';
import { hasCopyEnded, type CopyJob } from './copy-job.ts';
import type { Places } from './take-place.ts';

/** Times that a write is tried, each on what was read again. */
export const COPY_WRITES_MAX = 5;

export interface VersionedCopy {
  readonly job: CopyJob;
  readonly modRevision: number;
}

export interface VersionedSpec {
  readonly spec: KeyspaceSpec;
  readonly modRevision: number;
}

/** One transaction: all of what is named stands at these revisions, and is this from then on. */
export interface CopyWrite {
  readonly kind: 'write';
  readonly job: VersionedCopy;
  readonly specs: readonly VersionedSpec[];
}

/** 'read': loads the table anew, and answers etcd's revision. 'spec': of a keyspace, as etcd has it. Both throw where etcd does not answer. */
export type CopyAsk = { readonly kind: 'read' } | { readonly kind: 'spec'; readonly name: string } | CopyWrite;
export type CopyAnswer = number | VersionedSpec | undefined | 'succeeded' | 'refused' | 'unknown';
export type CopyTask<T> = Generator<CopyAsk, T, CopyAnswer>;

/** Copies as they stand in etcd, as far as this term knows. */
export class CopyTable {
  readonly #jobs = new Map<string, VersionedCopy>();
  #isCurrent = false;
  /** A write whose answer was lost may still be carried out: until one succeeds, what was read may change. */
  #hasLost = false;
  /** Id of a copy whose cut-over may have been done, or may yet be. */
  unsettled: string | undefined;

  get isCurrent(): boolean {
    return this.#isCurrent;
  }

  get hasLost(): boolean {
    return this.#hasLost;
  }

  job(id: string): CopyJob | undefined {
    return this.#jobs.get(id)?.job;
  }

  stored(id: string): VersionedCopy | undefined {
    return this.#jobs.get(id);
  }

  /** Newest first. */
  jobs(): readonly CopyJob[] {
    return [...this.#jobs.values()].map(({ job }) => job).sort((a, b) => b.createdMs - a.createdMs || (a.id < b.id ? -1 : 1));
  }

  /** Those that have not ended. */
  active(): readonly CopyJob[] {
    return this.jobs().filter((job) => !hasCopyEnded(job));
  }

  /** Everything that stands there. */
  load(stored: Iterable<VersionedCopy>): void {
    this.#jobs.clear();
    for (const versioned of stored) this.#jobs.set(versioned.job.id, versioned);
    this.#isCurrent = !this.#hasLost;
  }

  /** A write is on its way: whatever becomes of it, everything is read again before it is relied on. */
  onSent(): void {
    this.#isCurrent = false;
  }

  onWritten(outcome: 'succeeded' | 'refused' | 'unknown'): void {
    if (outcome !== 'refused') this.#hasLost = outcome === 'unknown';
  }
}

function* read(): CopyTask<number> {
  return (yield { kind: 'read' }) as number;
}

/** The keyspace of that name, if it is this one. */
function* specOf(name: string, id: string): CopyTask<VersionedSpec | undefined> {
  const found = (yield { kind: 'spec', name }) as VersionedSpec | undefined;
  return found?.spec.id === id ? found : undefined;
}

function* write(table: CopyTable, job: VersionedCopy, specs: readonly VersionedSpec[]): CopyTask<boolean> {
  table.onSent();
  const outcome = (yield { kind: 'write', job, specs }) as 'succeeded' | 'refused' | 'unknown';
  table.onWritten(outcome);
  return outcome === 'succeeded';
}

/** Reads everything, unless what is known is current. */
export function* refreshCopies(table: CopyTable): CopyTask<void> {
  if (!table.isCurrent) yield* read();
}

/**
 * Changes a job, and with it whether its keyspace takes anything from the source, and how fast. `change` answers the same one where
 * there is nothing to do; it may be called again. Throws MIGRATION_NOT_FOUND, METADATA_CONFLICT.
 */
export function* updateCopy(table: CopyTable, id: string, change: (job: CopyJob) => CopyJob): CopyTask<CopyJob> {
  for (let attempt = 0; attempt < COPY_WRITES_MAX; attempt += 1) {
    yield* refreshCopies(table);
    const stored = table.stored(id);
    if (stored === undefined) throw new AtollError('MIGRATION_NOT_FOUND', `id: there is no migration ${id}`, { metadata: { field: 'id', migration: id } });
    const job = change(stored.job);
    if (job === stored.job) return job;
    const isWritten = yield* write(table, { job, modRevision: stored.modRevision }, yield* paced(job));
    yield* read();
    if (isWritten) return job;
  }
  throw copyConflict(id);
}

function* paced({ id, state, target, targetId, bytesPerSecond }: CopyJob): CopyTask<readonly VersionedSpec[]> {
  const stored = yield* specOf(target, targetId);
  const copyOf = stored?.spec.copyOf;
  const isPaused = state !== 'RUNNING' && state !== 'CUTTING_OVER';
  const isAsWanted = copyOf?.isPaused === isPaused && (copyOf.bytesPerSecond ?? 0) === bytesPerSecond;
  if (stored === undefined || copyOf?.job !== id || isAsWanted) return [];
  return [{ ...stored, spec: { ...stored.spec, copyOf: { ...copyOf, isPaused, bytesPerSecond: bytesPerSecond || undefined } } }];
}

/**
 * Has a copy take the place of its source, in one transaction with the job, if that is CUTTING_OVER (R37). `revision`: of etcd, at a
 * moment within this call. Answers the job as it stands then; throws when it is not known how it stands: `settleCopies` has to
 * succeed before anything that rests on the source's leaders (R7).
 */
export function* cutOverCopy(table: CopyTable, id: string, complete: (job: CopyJob) => CopyJob, specsOf: (specs: Places, revision: number) => Places): CopyTask<CopyJob> {
  const revision = yield* read();
  const stored = table.stored(id);
  if (stored?.job.state !== 'CUTTING_OVER') return stored!.job;
  const source = yield* specOf(stored.job.source, stored.job.sourceId);
  const target = yield* specOf(stored.job.target, stored.job.targetId);
  // Who froze the source meanwhile wants that more than its place to be taken.
  if (source === undefined || target === undefined || source.spec.freeze !== undefined) return stored.job;
  const specs = specsOf({ source: source.spec, target: target.spec }, revision);
  table.unsettled = id;
  const isWritten = yield* write(table, { job: complete(stored.job), modRevision: stored.modRevision }, [
    { spec: specs.source, modRevision: source.modRevision },
    { spec: specs.target, modRevision: target.modRevision },
  ]);
  if (isWritten || !table.hasLost) table.unsettled = undefined;
  else yield* settle(table, id);
  yield* read();
  return table.job(id)!;
}

/** After a cut-over whose answer was lost: has it be done, or be refused for ever. Throws while neither is certain. */
export function* settleCopies(table: CopyTable): CopyTask<void> {
  if (table.unsettled !== undefined) yield* settle(table, table.unsettled);
}

/** Writes the job as it is: what compares the revision before is refused from then on (R7). */
function* settle(table: CopyTable, id: string): CopyTask<void> {
  for (let attempt = 0; attempt < COPY_WRITES_MAX; attempt += 1) {
    yield* read();
    const stored = table.stored(id);
    const isSettled = stored?.job.state !== 'CUTTING_OVER' || (yield* write(table, stored, []));
    if (!isSettled) continue;
    table.unsettled = undefined;
    return;
  }
  throw copyConflict(id);
}

export const copyConflict = (id: string): AtollError =>
  new AtollError('METADATA_CONFLICT', `copy ${id}: refused ${COPY_WRITES_MAX} times, or it is not known whether it was written; another coordinator may have been elected`);
